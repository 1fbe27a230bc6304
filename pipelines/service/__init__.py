"""service: registered lenses behind HTTP.

config        what a service is told: sources, index, limits
schemas       requests and answers, with examples
uploads       a request's body → inputs; its files in a folder that ends with the request
decoding      strangers' files are opened in children that may be killed
decode_child  such a child
versions      what the sources name now; a model opened with its index and class embeddings
engine        inputs → embeddings in batches, similarities, classes, neighbours
answers       a question's items → the answer that goes out
refusal       what a client is told that asked for what there is not
guard         token, sizes, numbers and times; what is counted of every request
metrics       what Prometheus is told
app           the routes; knows no Ray
deployment    the one that knows Ray Serve
page/         the explorer: plain HTML, CSS and JavaScript
"""
