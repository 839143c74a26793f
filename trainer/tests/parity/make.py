"""Makes the stored values of the parity tests, with PyTorch and transformers: an implementation that shares no line with ours.

    python trainer/tests/parity/make.py

Needs torch and transformers from PyPI. Writes beside itself, for each family of encoders, a model of some six thousand
random weights in Hugging Face layout; `families.json`, what transformers makes of a padded batch; `steps.json` and
`after-*.safetensors`, three training steps of each loss.
"""

import json
import shutil
import sys
from pathlib import Path

import torch
import torch.nn.functional as F
import transformers
from safetensors.torch import load_file, save_file

HERE = Path(__file__).parent
WORDS = (
    "a the of in on to and is for with crow crows use uses tool tools bend wire hook food iron blood lack pale skin breath "
    "aurora light sun north pole wing lift heat body speed water boil train plan drug cell gene protein heart lung bone sea"
).split()


def vocabulary(family):
    special = {
        "bert": ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"],
        "roberta": ["<s>", "<pad>", "</s>", "<unk>", "<mask>"],
    }["bert" if family in ("bert", "distilbert") else "roberta"]
    return special + WORDS + ["##s", "##ing", "."]


def write_tokenizer(family, folder):
    words = vocabulary(family)
    pad, unk, start, end, mask = (
        (words[0], words[1], words[2], words[3], words[4]) if words[0] == "[PAD]" else (words[1], words[3], words[0], words[2], words[4])
    )
    at = {word: i for i, word in enumerate(words)}
    added = [
        {"id": at[w], "content": w, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
        for w in (words[:5])
    ]
    piece = lambda kind, name, type_id: {kind: {"id": name, "type_id": type_id}}
    typed = 1 if family == "bert" else 0
    middle = [piece("SpecialToken", end, 0)]
    if pad == "<pad>":
        middle.append(piece("SpecialToken", end, 0))
    tokenizer = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": added,
        "normalizer": {"type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True, "strip_accents": None, "lowercase": True},
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [piece("SpecialToken", start, 0), piece("Sequence", "A", 0), piece("SpecialToken", end, 0)],
            "pair": [piece("SpecialToken", start, 0), piece("Sequence", "A", 0), *middle, piece("Sequence", "B", typed), piece("SpecialToken", end, typed)],
            "special_tokens": {w: {"id": w, "ids": [at[w]], "tokens": [w]} for w in (start, end)},
        },
        "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": True},
        "model": {"type": "WordPiece", "unk_token": unk, "continuing_subword_prefix": "##", "max_input_chars_per_word": 100, "vocab": at},
    }
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer) + "\n")
    config = {
        "model_max_length": 32, "pad_token": pad, "unk_token": unk, "cls_token": start, "sep_token": end, "mask_token": mask,
        "tokenizer_class": "PreTrainedTokenizerFast",
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=1) + "\n")
    special = {key: config[key] for key in ("pad_token", "unk_token", "cls_token", "sep_token", "mask_token")}
    (folder / "special_tokens_map.json").write_text(json.dumps(special, indent=1) + "\n")


def write_modules(folder, pooling, normalised):
    kinds = ["Transformer", "Pooling"] + (["Normalize"] if normalised else [])
    paths = ["", "1_Pooling", "2_Normalize"]
    modules = [
        {"idx": i, "name": str(i), "path": paths[i], "type": f"sentence_transformers.models.{kind}"} for i, kind in enumerate(kinds)
    ]
    (folder / "modules.json").write_text(json.dumps(modules, indent=1) + "\n")
    (folder / "1_Pooling").mkdir()
    modes = ["cls_token", "mean_tokens", "max_tokens", "mean_sqrt_len_tokens"]
    on = {"mean": "mean_tokens", "cls": "cls_token"}[pooling]
    config = {"word_embedding_dimension": 16, **{f"pooling_mode_{mode}": mode == on for mode in modes}}
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(config, indent=1) + "\n")
    (folder / "sentence_bert_config.json").write_text('{"max_seq_length": 32, "do_lower_case": false}\n')


def model_of(family):
    size = len(vocabulary(family))
    shared = dict(vocab_size=size, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=24)
    quiet = dict(hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    roberta = dict(max_position_embeddings=42, pad_token_id=1, bos_token_id=0, eos_token_id=2, layer_norm_eps=1e-5)
    t = transformers
    if family == "bert":
        return t.BertModel(t.BertConfig(**shared, **quiet, max_position_embeddings=40))
    if family == "distilbert":
        config = t.DistilBertConfig(
            vocab_size=size, dim=16, n_layers=2, n_heads=2, hidden_dim=24, max_position_embeddings=40, dropout=0.0, attention_dropout=0.0
        )
        return t.DistilBertModel(config)
    if family == "roberta":
        return t.RobertaModel(t.RobertaConfig(**shared, **quiet, **roberta, type_vocab_size=1))
    if family == "xlm-roberta":
        return t.XLMRobertaModel(t.XLMRobertaConfig(**shared, **quiet, **roberta, type_vocab_size=1, hidden_act="gelu_new"))
    if family == "mpnet":
        return t.MPNetModel(t.MPNetConfig(**shared, **quiet, **roberta))
    raise ValueError(family)


def shake(model, seed):
    """Weights large enough that every part of the model matters, unlike those of a fresh model."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, value in sorted(model.named_parameters()):
            noise = torch.randn(value.shape, generator=generator)
            if value.dim() > 1:
                value.copy_(noise * (0.7 if "embeddings" in name else 0.3))
            elif name.endswith("weight"):
                value.copy_(1.0 + 0.2 * noise)
            else:
                value.copy_(0.2 * noise)
            pad = getattr(model.config, "pad_token_id", 0)
            if "word_embeddings" in name:
                value[pad] = 0.0


def write_model(family, pooling, normalised, extra=None):
    folder = HERE / family
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    model = model_of(family).eval()
    shake(model, 11)
    model.save_pretrained(folder)
    if extra:
        tensors = load_file(folder / "model.safetensors")
        save_file({**tensors, **extra}, folder / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((folder / "config.json").read_text())
    config.pop("_name_or_path", None)
    (folder / "config.json").write_text(json.dumps(config, indent=1) + "\n")
    write_tokenizer(family, folder)
    write_modules(folder, pooling, normalised)
    return model


def batch(family, texts):
    """Ids, mask and types of texts given as lists of words (or pairs of such lists)."""
    words = vocabulary(family)
    at = {word: i for i, word in enumerate(words)}
    start, end, pad = (2, 3, 0) if words[0] == "[PAD]" else (0, 2, 1)
    rows, types = [], []
    for text in texts:
        first, second = text if isinstance(text, tuple) else (text, None)
        ids = [start] + [at[w] for w in first] + [end]
        kinds = [0] * len(ids)
        if second is not None:
            ids += [at[w] for w in second] + [end]
            kinds += [1] * (len(second) + 1)
        rows.append(ids)
        types.append(kinds)
    width = max(map(len, rows))
    fill = lambda rows, value: torch.tensor([row + [value] * (width - len(row)) for row in rows])
    mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows])
    return fill(rows, pad), mask, fill(types, 0), rows


def some_words(generator, count):
    return [WORDS[i] for i in torch.randint(len(WORDS), (count,), generator=generator).tolist()]


def run(model, ids, mask, types):
    inputs = {"input_ids": ids, "attention_mask": mask}
    if model.config.model_type == "bert":
        inputs["token_type_ids"] = types
    return model(**inputs).last_hidden_state


def mean_pool(tokens, mask):
    mask = mask.unsqueeze(-1).to(tokens.dtype)
    return (tokens * mask).sum(1) / mask.sum(1).clamp(min=1e-9)


def rounded(rows):
    return [[round(value, 7) for value in row] for row in rows.tolist()]


def families():
    found = {}
    plan = [
        ("bert", "mean", True), ("distilbert", "mean", False), ("roberta", "cls", True), ("xlm-roberta", "mean", True),
        ("mpnet", "mean", True),
    ]
    generator = torch.Generator().manual_seed(3)
    head = {"classifier.weight": torch.randn(1, 16, generator=generator) * 0.3, "classifier.bias": torch.tensor([0.1])}
    for family, pooling, normalised in plan:
        model = write_model(family, pooling, normalised, head if family == "bert" else None)
        generator = torch.Generator().manual_seed(5)
        ids, mask, types, rows = batch(family, [some_words(generator, n) for n in (5, 28, 12, 1)])
        with torch.no_grad():
            tokens = run(model.double(), ids, mask, types)
        found[family] = {
            "ids": rows,
            "mean": rounded(mean_pool(tokens, mask)),
            "first": rounded(tokens[:, 0]),
        }
    (HERE / "bert" / "teacher.json").write_text('{"format": 1, "pooling": "mean"}\n')
    return found


def rate(base, step, total, warm_up):
    rise = round(warm_up * total)
    at = step + 1
    factor = at / rise if at <= rise else (total - step) / max(total - rise, 1)
    return base * min(max(factor, 0.0), 1.0)


SETTINGS = {
    "learning_rate": 5e-3, "warm_up": 0.4, "steps": 3, "total": 5, "clip": 0.5,
    # A gradient that is nothing but rounding (a key's bias has none) must not be blown up to a full step.
    "beta1": 0.9, "beta2": 0.98, "epsilon": 1e-5, "weight_decay": 0.05,
}


def train(name, loss_of, head):
    """Three steps in f64 from the stored f32 weights."""
    transformers.logging.set_verbosity_error()
    model = transformers.BertModel.from_pretrained(HERE / "bert", attn_implementation="eager").double()
    model.eval()
    stored = load_file(HERE / "bert" / "model.safetensors")
    classifier = torch.nn.Linear(16, 1).double()
    with torch.no_grad():
        classifier.weight.copy_(stored["classifier.weight"])
        classifier.bias.copy_(stored["classifier.bias"])
    named = {n: p for n, p in model.named_parameters() if not n.startswith("pooler")}
    if head:
        named |= {f"classifier.{n}": p for n, p in classifier.named_parameters()}
    s = SETTINGS
    groups = [
        {"params": [p for p in named.values() if p.dim() > 1], "weight_decay": s["weight_decay"]},
        {"params": [p for p in named.values() if p.dim() <= 1], "weight_decay": 0.0},
    ]
    optimiser = torch.optim.AdamW(groups, lr=s["learning_rate"], betas=(s["beta1"], s["beta2"]), eps=s["epsilon"])
    steps = []
    for step in range(s["steps"]):
        optimiser.zero_grad()
        loss = loss_of(model, classifier)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(list(named.values()), s["clip"])
        now = rate(s["learning_rate"], step, s["total"], s["warm_up"])
        for group in optimiser.param_groups:
            group["lr"] = now
        optimiser.step()
        steps.append({"loss": loss.item(), "gradient_norm": norm.item(), "rate": now})
    if name != "margin-mse":
        # Its steps differ from those of `kl` in the loss alone, and losses and gradients of all steps are stored.
        save_file({n: p.detach().float().contiguous() for n, p in named.items()}, HERE / f"after-{name}.safetensors")
    return steps


def embed(model, texts):
    ids, mask, types, rows = batch("bert", texts)
    return F.normalize(mean_pool(run(model, ids, mask, types), mask), dim=-1), rows


def steps():
    generator = torch.Generator().manual_seed(9)
    queries = [some_words(generator, n) for n in (3, 6, 4)]
    passages = [some_words(generator, n) for n in (12, 7, 19, 9, 28, 11, 14, 5, 22)]
    _, _, _, query_rows = batch("bert", queries)
    _, _, _, passage_rows = batch("bert", passages)
    # Query, candidates (the first is the positive), which of them are natural; the last query has one less.
    candidates = [[0, 1, 2, 3], [4, 0, 5, 6], [7, 2, 8, 0]]
    present = [[1, 1, 1, 1], [1, 1, 1, 1], [1, 1, 1, 0]]
    natural = [[1, 1, 0, 0], [1, 1, 1, 0], [1, 1, 1, 0]]
    teacher = (torch.randn(3, 4, generator=generator) * 3.0).tolist()
    # Dark passages and a known positive of another query are out of the contrastive term.
    allowed = [[1, 1, 0, 0, 1, 1, 0, 1, 0], [1, 0, 0, 0, 1, 1, 0, 1, 1], [0, 1, 1, 0, 1, 1, 0, 1, 1]]
    contrastive, natural_share, dark_share = [1.0, 0.5, 1.0], [0.25, 0.0, 1.0], [0.75, 1.0, 0.0]
    weights = {"contrastive": 0.7, "distillation": 1.3, "scale": 12.0, "teacher_temperature": 1.5, "student_temperature": 2.0}

    t = lambda value, kind=torch.float64: torch.tensor(value, dtype=kind)
    present_, natural_, allowed_ = (t(x, torch.bool) for x in (present, natural, allowed))
    candidates_, teacher_ = t(candidates, torch.int64), t(teacher)

    def scores(model):
        q, _ = embed(model, queries)
        p, _ = embed(model, passages)
        return q @ p.T

    def info_nce(scores, allowed, target):
        """Each query's cross-entropy, written out with the sums of the definition."""
        losses = []
        for row, may, at in zip(scores, allowed, target):
            losses.append(-(row[at] - torch.logsumexp(row[may], 0)))
        return torch.stack(losses)

    def kl(own, there):
        losses = []
        for s, t_, here in zip(own, teacher_, there):
            p = torch.softmax(t_[here] / weights["teacher_temperature"], 0)
            log_q = torch.log_softmax(s[here] / weights["student_temperature"], 0)
            losses.append(weights["student_temperature"] ** 2 * (p * (p.log() - log_q)).sum())
        return torch.stack(losses)

    def margin(own, there):
        losses = []
        for s, t_, here in zip(own, teacher_, there):
            gap = ((s[0] - s) - (t_[0] - t_) / weights["teacher_temperature"])[here]
            losses.append((gap**2).sum() / max(int(here.sum()) - 1, 1))
        return torch.stack(losses)

    def distil(model, _, part):
        scaled = scores(model) * weights["scale"]
        ce = (info_nce(scaled, allowed_, candidates_[:, 0]) * t(contrastive)).mean()
        own = scaled.gather(1, candidates_)
        kd = (part(own, present_) * t(dark_share) + part(own, natural_) * t(natural_share)).mean()
        return weights["contrastive"] * ce + weights["distillation"] * kd

    def warm_up(model, _):
        return info_nce(scores(model) * weights["scale"], allowed_, candidates_[:, 0]).mean()

    def listwise(model, classifier):
        pairs = [(queries[q], passages[p]) for q in range(3) for p in candidates[q]]
        ids, mask, types, _ = batch("bert", pairs)
        logits = classifier(mean_pool(run(model, ids, mask, types), mask)).squeeze(-1).view(3, 4)
        losses = [-(row[0] - torch.logsumexp(row[here], 0)) for row, here in zip(logits, present_)]
        return torch.stack(losses).mean()

    cases = {
        "kl": train("kl", lambda m, c: distil(m, c, kl), False),
        "margin-mse": train("margin-mse", lambda m, c: distil(m, c, margin), False),
        "warm-up": train("warm-up", warm_up, False),
        "teacher": train("teacher", listwise, True),
    }
    return {
        "command": "python trainer/tests/parity/make.py",
        "versions": {"torch": torch.__version__, "transformers": transformers.__version__},
        "settings": SETTINGS,
        "loss": weights,
        "queries": query_rows,
        "passages": passage_rows,
        "candidates": candidates,
        "present": present,
        "natural": natural,
        "teacher": teacher,
        "allowed": allowed,
        "contrastive": contrastive,
        "natural_share": natural_share,
        "dark_share": dark_share,
        "cases": cases,
    }


def main():
    torch.set_num_threads(1)
    (HERE / "families.json").write_text(json.dumps(families()) + "\n")
    (HERE / "steps.json").write_text(json.dumps(steps(), indent=1) + "\n")
    size = sum(path.stat().st_size for path in HERE.rglob("*") if path.is_file())
    print(f"{size / 1000:.0f} KB in {HERE}", file=sys.stderr)


if __name__ == "__main__":
    main()
