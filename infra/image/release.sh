#!/usr/bin/env bash
# Builds, signs and publishes both images, each with an SBOM and its provenance.
#
#   infra/image/release.sh REPOSITORY VERSION BASE
#
#   REPOSITORY  where the images go, without a tag
#   VERSION     as in pyproject.toml; tags are VERSION-cpu and VERSION-cuda
#   BASE        the base image with its digest: debian:12.12-slim@sha256:…
#
# Needs docker with buildx, and cosign with a key or an identity. Writes infra/image/digests.txt,
# which the manifests of a cluster are pinned with: `kubectl kustomize` reads digests, not tags.
set -euo pipefail
cd "$(dirname "$0")/../.."

[ $# -eq 3 ] || { sed -n '2,11s/^# \{0,1\}//p' "$0" >&2; exit 2; }
repository=$1 version=$2 base=$3
[[ $base == *@sha256:* ]] || { echo "BASE needs a digest: found $base" >&2; exit 2; }
stated=$(sed -n 's/^version = "\(.*\)"$/\1/p' pyproject.toml)
[ "$version" = "$stated" ] || { echo "pyproject.toml says $stated, not $version" >&2; exit 2; }
[ -z "$(git status --porcelain)" ] || { echo "commit first: the image states its revision" >&2; exit 2; }

: >infra/image/digests.txt
for variant in cpu:cpu cuda:locked; do
    image=$repository:$version-${variant%%:*}
    docker buildx build --file infra/image/Dockerfile --tag "$image" --push \
        --build-arg BASE="$base" --build-arg TORCH_BACKEND="${variant##*:}" \
        --build-arg REVISION="$(git rev-parse HEAD)" \
        --sbom=true --provenance=mode=max --metadata-file /tmp/vitlens-image.json .
    digest=$(sed -n 's/.*"containerimage.digest": "\(sha256:[0-9a-f]*\)".*/\1/p' /tmp/vitlens-image.json)
    [ -n "$digest" ] || { echo "$image: the build states no digest" >&2; exit 1; }
    cosign sign --yes "$repository@$digest"
    cosign verify "$repository@$digest" ${COSIGN_VERIFY:---key cosign.pub} >/dev/null
    echo "$image@$digest" >>infra/image/digests.txt
done
cat infra/image/digests.txt
