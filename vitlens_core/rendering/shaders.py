"""The rasteriser's GLSL. All light is linear until `RESOLVE` encodes it as sRGB."""

VERTEX = """
#version 330
uniform mat4 world_to_cam;
uniform mat4 cam_to_clip;
in vec3 in_position;
in vec3 in_normal;
in vec2 in_uv;
in vec4 in_colour;
out vec3 position;
out vec3 normal;
out vec2 uv;
out vec4 colour;
out float depth_m;
void main() {
    vec4 seen = world_to_cam * vec4(in_position, 1.0);
    position = in_position;
    normal = in_normal;
    uv = in_uv;
    colour = in_colour;
    depth_m = seen.z;
    gl_Position = cam_to_clip * seen;
}
"""

# `alpha_range` divides a see-through material into an opaque pass and a blended one.
_BASE_COLOUR = """
#version 330
uniform sampler2D base_texture;
uniform vec4 factor;
uniform vec2 alpha_range;
in vec3 position;
in vec3 normal;
in vec2 uv;
in vec4 colour;
in float depth_m;
vec4 base_colour() {
    vec4 base = colour * factor * texture(base_texture, uv);
    if (base.a < alpha_range.x || base.a >= alpha_range.y) discard;
    return base;
}
"""

# A normal of length 0 means that none is stored: the face's is taken. Ground, sky and key light
# are chosen so that a white object is bright but keeps its shading.
COLOUR = (
    _BASE_COLOUR
    + """
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
    vec4 base = base_colour();
    vec3 shown = base.rgb;
    if (!unlit) {
        vec3 n = facing_normal();
        shown *= mix(GROUND, SKY, 0.5 + 0.5 * n.y) + KEY * max(dot(n, key), 0.0);
    }
    float alpha = blend ? min(base.a, 1.0) : 1.0;
    light = vec4(min(shown, 1.0) * alpha, alpha);
}
"""
)

# The base colour is computed for its `discard`: hidden places have no depth.
DEPTH = (
    _BASE_COLOUR
    + """
out float planar_m;
void main() {
    base_colour();
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
