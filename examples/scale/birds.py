"""An index of several shards on one machine: built by Ray's workers, served by replicas, searched over HTTP.

    pip install 'adam-search[ray]'
    python examples/scale/birds.py MODEL

MODEL is a student folder or a Hugging Face id. The program `adam` is on PATH, or ADAM names it.
"""

import json
import os
import sys
import tempfile
import urllib.request
from pathlib import Path

import ray
from adam_search import scale

BIRDS = [
    ("crow", "Crows bend wire into hooks and fish with them."),
    ("raven", "Ravens nest early in the year, often in snow."),
    ("finch", "The woodpecker finch takes a cactus spine to reach grubs."),
    ("owl", "Owls hunt at night and hear mice below the snow."),
    ("swift", "Swifts sleep on the wing."),
]


def main() -> None:
    model = sys.argv[1]
    ray.init(num_cpus=4, include_dashboard=False, log_to_driver=False)
    with tempfile.TemporaryDirectory() as folder:
        corpus = Path(folder) / "birds.jsonl"
        corpus.write_text("".join(json.dumps({"_id": bird, "text": text}) + "\n" for bird, text in BIRDS))
        index = scale.build(
            corpus,
            model=model,
            index=Path(folder) / "index",
            shards=2,
            program=os.environ.get("ADAM"),
            progress=lambda done, total: print(f"{done} of {total} shards"),
        )
        service = scale.serve(index, replicas=2, port=int(os.environ.get("PORT", "8080")), cpus=0.25, ingress_cpus=0.25)
        body = json.dumps({"query": "birds that use tools", "top": 2}).encode()
        with urllib.request.urlopen(service.url + "/search", body) as answer:
            for hit in json.load(answer)["hits"]:
                print(f"{hit['score']:.4f}  {hit['id']:6}  {hit['snippet']['text']}")
        print(service.state())
        service.stop()
    ray.shutdown()


if __name__ == "__main__":
    main()
