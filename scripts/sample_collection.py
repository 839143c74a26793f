"""Makes a smaller BEIR folder of a BEIR archive: one split's queries and judgements, every document it judges, and others drawn at random.

    python3 scripts/sample_collection.py medquad.zip --split dev --documents 4000 --output medquad-4000

For evaluations that are repeated many times. Figures on a sample are higher than on the whole, and comparable among themselves only.
"""

import argparse
import json
import random
import zipfile
from pathlib import Path


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("archive", type=Path)
    parser.add_argument("--split", default="test")
    parser.add_argument("--documents", type=int, required=True)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args()
    archive = zipfile.ZipFile(arguments.archive)

    def read(name):
        found = [entry for entry in archive.namelist() if entry == name or entry.endswith("/" + name)]
        if not found:
            parser.error(f"{arguments.archive} holds no {name}")
        return archive.read(found[0]).decode()

    judgements = read(f"qrels/{arguments.split}.tsv")
    rows = [line.split("\t") for line in judgements.splitlines()[1:]]
    queries, judged = {row[0] for row in rows}, {row[1] for row in rows}
    documents = [json.loads(line) for line in read("corpus.jsonl").splitlines()]
    others = [document["_id"] for document in documents if document["_id"] not in judged]
    random.Random(arguments.seed).shuffle(others)
    kept = judged | set(others[: max(0, arguments.documents - len(judged))])

    (arguments.output / "qrels").mkdir(parents=True, exist_ok=True)
    (arguments.output / f"qrels/{arguments.split}.tsv").write_text(judgements)
    lines = [json.dumps(document) + "\n" for document in documents if document["_id"] in kept]
    (arguments.output / "corpus.jsonl").write_text("".join(lines))
    asked = [line + "\n" for line in read("queries.jsonl").splitlines() if json.loads(line)["_id"] in queries]
    (arguments.output / "queries.jsonl").write_text("".join(asked))
    print(f"{len(lines)} documents, {len(judged)} of them judged, {len(asked)} queries in {arguments.output}")


if __name__ == "__main__":
    main()
