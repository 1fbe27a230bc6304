"""The rasteriser's GLSL. All light is linear until `RESOLVE` encodes it as sRGB.

The colour of a surface is that of `surface`, stated again for GL.
"""

from vitlens_core.rendering.surface import BRIGHTNESS, DIELECTRIC, METALLIC_FROM

# `disc_px_m`: what a point's disc measures in pixels at a distance of 1 m.
VERTEX = """
#version 330
uniform mat4 world_to_cam;
uniform mat4 cam_to_clip;
uniform float disc_px_m;
in vec3 in_position;
in vec3 in_normal;
in vec2 in_base_uv;
in vec2 in_specular_uv;
in vec2 in_emission_uv;
in vec4 in_colour;
out vec3 position;
out vec3 normal;
out vec2 base_uv;
out vec2 specular_uv;
out vec2 emission_uv;
out vec4 colour;
out float depth_m;
void main() {
    vec4 seen = world_to_cam * vec4(in_position, 1.0);
    position = in_position;
    normal = in_normal;
    base_uv = in_base_uv;
    specular_uv = in_specular_uv;
    emission_uv = in_emission_uv;
    colour = in_colour;
    depth_m = seen.z;
    gl_Position = cam_to_clip * seen;
    gl_PointSize = max(disc_px_m / seen.z, 1.0);
}
"""

# `alpha_range` divides a see-through material into an opaque pass and a blended one.
_BASE = """
#version 330
uniform sampler2D base_texture;
uniform vec4 base_factor;
uniform vec2 alpha_range;
uniform bool is_disc;
in vec3 position;
in vec3 normal;
in vec2 base_uv;
in vec2 specular_uv;
in vec2 emission_uv;
in vec4 colour;
in float depth_m;
vec4 base_layer() {
    if (is_disc && length(gl_PointCoord - 0.5) > 0.5) discard;
    vec4 base = colour * base_factor * texture(base_texture, base_uv);
    if (base.a < alpha_range.x || base.a >= alpha_range.y) discard;
    return base;
}
"""

_BASE_OF_SPECULAR = f"""
const float DIELECTRIC = {DIELECTRIC};
const vec3 BRIGHTNESS = vec3{BRIGHTNESS};

float brightness(vec3 rgb) {{ return sqrt(dot(rgb * rgb, BRIGHTNESS)); }}

float metallic_share(float diffuse, float specular, float share) {{
    if (specular < {METALLIC_FROM}) return 0.0;
    float linear = diffuse * share / (1.0 - DIELECTRIC) + specular - 2.0 * DIELECTRIC;
    float square = linear * linear - 4.0 * DIELECTRIC * (DIELECTRIC - specular);
    return clamp((sqrt(max(square, 0.0)) - linear) / (2.0 * DIELECTRIC), 0.0, 1.0);
}}

vec3 base_of_specular(vec3 diffuse, vec3 specular) {{
    float share = 1.0 - max(specular.r, max(specular.g, specular.b));
    float metallic = metallic_share(brightness(diffuse), brightness(specular), share);
    vec3 kept = diffuse * share / (1.0 - DIELECTRIC) / max(1.0 - metallic, 1e-6);
    vec3 of_metal = (specular - DIELECTRIC * (1.0 - metallic)) / max(metallic, 1e-6);
    return clamp(mix(kept, of_metal, metallic * metallic), 0.0, 1.0);
}}
"""

# A normal of length 0 means that none is stored: the face's is taken. Ground, sky and key light
# are chosen so that a white object is bright but keeps its shading.
COLOUR = (
    _BASE
    + _BASE_OF_SPECULAR
    + """
uniform sampler2D specular_texture;
uniform vec4 specular_factor;
uniform bool has_specular;
uniform sampler2D emission_texture;
uniform vec4 emission_factor;
uniform bool has_emission;
uniform vec3 eye;
uniform vec3 key;
uniform bool unlit;
uniform bool blend;
out vec4 light;
const float GROUND = 0.30, SKY = 0.50, KEY = 0.50;

vec3 facing_normal() {
    vec3 n = normal;
    if (dot(n, n) < 0.25) n = cross(dFdx(position), dFdy(position));
    n = normalize(n);
    return dot(n, eye - position) < 0.0 ? -n : n;
}

void main() {
    vec4 base = base_layer();
    vec3 shown = base.rgb;
    if (has_specular) {
        vec4 specular = specular_factor * texture(specular_texture, specular_uv);
        shown = base_of_specular(shown, specular.rgb);
    }
    if (!unlit) {
        vec3 n = facing_normal();
        shown *= mix(GROUND, SKY, 0.5 + 0.5 * n.y) + KEY * max(dot(n, key), 0.0);
    }
    if (has_emission) {
        shown += (emission_factor * texture(emission_texture, emission_uv)).rgb;
        shown /= max(1.0, max(shown.r, max(shown.g, shown.b)));
    }
    float alpha = blend ? min(base.a, 1.0) : 1.0;
    light = vec4(min(shown, 1.0) * alpha, alpha);
}
"""
)

# The base colour is computed for its `discard`: hidden places have no depth.
DEPTH = (
    _BASE
    + """
out float planar_m;
void main() {
    base_layer();
    planar_m = depth_m;
}
"""
)

# One triangle that covers the screen.
SCREEN_VERTEX = """
#version 330
void main() {
    gl_Position = vec4(gl_VertexID == 1 ? 3.0 : -1.0, gl_VertexID == 2 ? 3.0 : -1.0, 0.0, 1.0);
}
"""

# Averages premultiplied light over the samples of a pixel, then divides by alpha: straight alpha.
RESOLVE = """
#version 330
uniform sampler2D supersampled;
uniform int samples_per_side;
out vec4 rgba;
vec3 srgb(vec3 x) {
    return mix(1.055 * pow(max(x, 0.0031308), vec3(1.0 / 2.4)) - 0.055, x * 12.92,
               lessThanEqual(x, vec3(0.0031308)));
}
void main() {
    ivec2 corner = ivec2(gl_FragCoord.xy) * samples_per_side;
    vec4 sum = vec4(0.0);
    for (int y = 0; y < samples_per_side; y++)
        for (int x = 0; x < samples_per_side; x++)
            sum += texelFetch(supersampled, corner + ivec2(x, y), 0);
    vec4 mean = sum / float(samples_per_side * samples_per_side);
    rgba = mean.a > 0.0 ? vec4(srgb(min(mean.rgb / mean.a, 1.0)), mean.a) : vec4(0.0);
}
"""
