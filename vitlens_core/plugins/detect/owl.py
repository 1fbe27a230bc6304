"""OWL-ViT and OWLv2: their class head compares every patch with query embeddings.

OWL fine-tuned its two CLIP towers, so that a lens must be trained into these: foundation
hf:<the same model>.

Axes: B pictures, P patches, Q queries, D width of a query.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vitlens_core.errors import InputError
from vitlens_core.models.hf_trunks import VisionTower, clip_tower
from vitlens_core.models.trunk import Trunk
from vitlens_core.plugins.detect.detections import Detections
from vitlens_core.plugins.fit import check_trunk

# OWL's own default; what lies below is noise.
LEAST_SCORE = 0.1
# transformers takes 1 or 3 rows of pixels for channels.
SMALLEST_PX = 4


class OwlDetector:
    """OWL with queries from any modality of its own space; opened by `open_detector`."""

    def __init__(self, source: str, kind: str, model: Any, processor: Any) -> None:
        self.source = source
        self.model = model
        self.processor = processor
        self.towers = getattr(model, kind)
        vision, projection = self.towers.vision_model, self.towers.visual_projection
        self.tower: VisionTower = clip_tower(vision, projection)

    @property
    def query_dim(self) -> int:
        """D."""
        return self.model.config.projection_dim

    def check(self, trunk: Trunk, what: str) -> None:
        """Raise CheckpointError unless `trunk` is this model's own."""
        check_trunk(trunk, self.tower.trunk, what, self.source)

    @torch.inference_mode()
    def logits(self, pixels: Tensor, queries: Tensor) -> tuple[Tensor, Tensor]:
        """Compute logits [B, P, Q] and boxes [B, P, 4] (centre and size, of 1) of pictures.

        Args:
            pixels: [B, 3, S, S], as the model's processor makes them.
            queries: [Q, D]; their length does not matter.

        Raises:
            InputError: the queries have another width.
        """
        if queries.ndim != 2 or queries.shape[1] != self.query_dim:
            raise InputError(
                f"{self.source} takes queries [Q, {self.query_dim}], found {list(queries.shape)}: "
                f"embed them with the foundation hf:{self.source}"
            )
        grid = self.model.image_embedder(pixels)[0]
        patches = grid.flatten(1, 2)
        batch = queries.to(patches).expand(len(patches), -1, -1)
        given = torch.ones(batch.shape[:2], dtype=torch.bool, device=patches.device)
        logits, _ = self.model.class_predictor(patches, batch, given)
        return logits, self.model.box_predictor(patches, grid)

    def detect(
        self, picture: np.ndarray, queries: Tensor, least: float = LEAST_SCORE
    ) -> Detections:
        """Find queries [Q, D] in a picture, uint8 RGB [H, W, 3]; scores are within 0..1.

        Raises:
            InputError: the queries have another width, or the picture has too few pixels.
        """
        height, width = picture.shape[:2]
        if min(height, width) < SMALLEST_PX:
            raise InputError(
                f"expected a picture of {SMALLEST_PX} pixels or more each way, found {width} × "
                f"{height}"
            )
        device = next(self.model.parameters()).device
        pixels = self.processor(images=picture, return_tensors="pt")["pixel_values"].to(device)
        logits, boxes = self.logits(pixels, queries)
        found = self.processor.post_process_object_detection(
            SimpleNamespace(logits=logits, pred_boxes=boxes),
            threshold=least,
            target_sizes=[picture.shape[:2]],
        )[0]
        every = Detections(found["boxes"].cpu(), found["scores"].cpu(), found["labels"].cpu())
        return every.without_overlaps()
