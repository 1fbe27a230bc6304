import vitlens_core

model = vitlens_core.load("lens.safetensors", foundation="foundation")
found = model.encode(
    {
        "point_cloud": ["chair.glb", "scan.ply"],
        "image": ["chair.jpg", "lamp.jpg"],
        "text": ["a chair", "a lamp", "a car"],
    }
)
scores = model.similarity(found["point_cloud"], found["text"])
probabilities, temperature = model.calibrated(scores)
both = model.fuse({n: found[n] for n in ("point_cloud", "image")}, {"point_cloud": 1, "image": 0.5})
nearest = model.similarity(both, found["image"]).argmax(dim=1)
