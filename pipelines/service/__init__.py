"""service: serves registered lenses over HTTP.

config        settings of a service: sources, index, limits
schemas       requests and answers, with examples
verb_schemas  requests and answers of /ask, /detect and /imagine
uploads       reads a request's body; its files lie in a folder that is deleted with the request
decoding      opens uploaded files in child processes that may be killed
inputs        checks and reads the inputs of a question
companions    question model, detector and decoder, opened beside the lens where they fit
versions      resolves the sources, and opens a model with its index and class embeddings
engine        embeds inputs in batches
answers       makes the answers: embeddings, similarities, classes, neighbours
verbs         which verbs are answered, and by what
asking        answers /ask;  detecting: /detect;  imagining: /imagine
refusal       the error of a request that cannot be answered
guard         checks token, sizes, numbers and times of every request, and counts it
metrics       counters for Prometheus
documents     describes questions for the OpenAPI document
app           the routes; knows no Ray
deployment    the only module that knows Ray Serve
page/         the explorer: plain HTML, CSS and JavaScript
"""
