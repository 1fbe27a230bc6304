"""The sizes of the published checkpoints, ready to build or load.

Source: the model zoos of ViT-Lens (arXiv 2311.16081) and ImageBind (arXiv 2305.05665).
"""

from vitlens_core.models.reference_config import (
    AudioSizes,
    DepthSizes,
    EegSizes,
    ImageBindAudio,
    ImageBindConfig,
    ImageBindImage,
    ImageBindImu,
    ImageBindText,
    ImageBindVision,
    LensSizes,
    PointCloudSizes,
    TactileSizes,
    TextSizes,
    VitLensConfig,
    VitSizes,
)

VITLENS_L = VitLensConfig(
    vit=VitSizes(width=1024, heads=16, layers=24, patch=14, image_size=224, embed_dim=768),
    text=TextSizes(context_length=77, vocab_size=49408, width=768, heads=12, layers=12),
    lens=LensSizes(
        num_latents=256,
        latent_dim=1024,
        latent_heads=16,
        latent_dim_head=64,
        cross_heads=1,
        cross_dim_head=64,
    ),
    pc=PointCloudSizes(
        tokenizer="pointbert",
        num_group=512,
        group_size=32,
        encoder_dims=256,
        trans_dim=384,
        lens_depth=4,
        self_per_cross_attn=1,
    ),
    depth=DepthSizes(lens="identity"),
    audio=AudioSizes(
        mel_bins=128,
        target_length=512,
        fstride=10,
        tstride=10,
        lens_depth=2,
        self_per_cross_attn=3,
    ),
    tactile=TactileSizes(lens=None),
    eeg=EegSizes(
        chans=128, time_len=512, window_size=1, stride=1, lens_depth=1, self_per_cross_attn=1
    ),
)

IMAGEBIND_HUGE = ImageBindConfig(
    out_embed_dim=1024,
    vision=ImageBindVision(embed_dim=1280, blocks=32, heads=16, kernel=(2, 14, 14)),
    text=ImageBindText(embed_dim=1024, blocks=24, heads=16),
    audio=ImageBindAudio(
        embed_dim=768, blocks=12, heads=12, kernel=16, stride=10, mel_bins=128, target_len=204
    ),
    depth=ImageBindImage(embed_dim=384, blocks=12, heads=8, kernel=16),
    thermal=ImageBindImage(embed_dim=768, blocks=12, heads=12, kernel=16),
    imu=ImageBindImu(embed_dim=512, blocks=6, heads=8, kernel=8),
)
