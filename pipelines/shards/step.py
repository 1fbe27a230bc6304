"""shards: what the step is and what it is told; `rendered` and `recorded` make the pairs."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from pipelines.execution.step import Step

OF_OBJECTS = ("point_cloud", "depth")  # modalities that rendered objects give


class ShardsConfig(BaseModel):
    """What a paired sample holds."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    points: int = Field(10_000, ge=16, description="points stored per cloud")
    views: int | None = Field(
        None, ge=1, description="views of an object that become samples, for depth; all if unset"
    )
    image_px: int = Field(224, ge=16, description="side of the images of a source")
    label_captions: bool = Field(
        True, description="whether captions of *training* samples name their class"
    )


STEP = Step(
    name="shards",
    version=3,
    description="Paired samples in WebDataset tars: signal, images, captions.",
    inputs=("renders", "source"),
    takes_one_input=True,
    in_pieces=True,
    made_by="Ray Data",
    reads="renders of objects, or the pairs of a source",
    writes={
        "<split>-NNNNN.tar": "one per shard of what was read; the files of a sample follow",
        "<signal>.npy": "the signal of the modality, under the name its file states; floats as "
        "fp16",
        "view00.png …": "the images it is paired with",
        "teacher.npy": "the signals of the teacher's modality, if a lens teaches",
        "json": "name, label, group, split, captions, licence, creator (`SampleInfo`); captions of "
        "held-out samples never name the class",
    },
    promises="Names and bytes are deterministic, a shard is of bounded size, and plain webdataset "
    "reads it. A sample of a rendered object is the whole object for point clouds and one view "
    "for depth.",
)
