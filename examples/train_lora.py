"""Train a small LoRA adapter on the default model with PEFT, then answer with it and without.

    pip install 'pyedge[lora]'       # torch, transformers and peft: for training only
    python examples/train_lora.py    # a few minutes on two cores

transformers reads the weights from the model file that pyedge already has, dequantised. So nothing else is
downloaded, and the adapter is trained on what it will be used on.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

import pyedge

CHATS = json.loads((Path(__file__).parent / "train_lora.json").read_text(encoding="utf-8"))
ASKED = ["Who are you?", "What should I cook tonight?", "How do I learn to swim?"]
SYSTEM = "You are a lighthouse keeper."


def conversation(question: str, answer: str | None = None) -> list[dict[str, str]]:
    messages = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": question}]
    return messages if answer is None else [*messages, {"role": "assistant", "content": answer}]


def examples(model: pyedge.Model) -> list[tuple[list[int], int]]:
    """Token ids of each chat, and how many of them are the question: only the answer is learnt."""
    out = []
    for question, answer in CHATS:
        prompt = model.apply_chat_template(conversation(question))
        whole = prompt + answer + "<|im_end|>\n"
        ids = model.tokenize(whole, parse_special=True)
        out.append((ids, len(model.tokenize(prompt, parse_special=True))))
    return out


def load_base(path: Path):
    """The model file's weights, dequantised, as transformers has them."""
    import torch
    from transformers import AutoModelForCausalLM

    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / path.name).symlink_to(path.resolve())
        return AutoModelForCausalLM.from_pretrained(folder, gguf_file=path.name, dtype=torch.float32)


def train(model: pyedge.Model, folder: Path, epochs: int) -> None:
    import torch
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(0)
    config = LoraConfig(
        r=8,
        lora_alpha=16,
        target_modules=["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"],
        task_type="CAUSAL_LM",
    )
    learner = get_peft_model(load_base(model.path), config)
    learner.print_trainable_parameters()
    optimiser = torch.optim.AdamW((p for p in learner.parameters() if p.requires_grad), lr=1e-3)
    data = examples(model)
    steps = epochs * len(data)
    schedule = torch.optim.lr_scheduler.LinearLR(optimiser, 1.0, 0.05, steps)
    for epoch in range(epochs):
        total = 0.0
        for i in torch.randperm(len(data)).tolist():
            ids, n_prompt = data[i]
            batch = torch.tensor([ids])
            labels = batch.clone()
            labels[0, :n_prompt] = -100
            loss = learner(input_ids=batch, labels=labels).loss
            loss.backward()
            optimiser.step()
            optimiser.zero_grad()
            schedule.step()
            total += loss.item()
        print(f"epoch {epoch + 1} of {epochs}: loss {total / len(data):.3f}")
    learner.half().save_pretrained(folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("-o", "--out", type=Path, default=Path("lighthouse"), help="folder of the adapter")
    parser.add_argument("--epochs", type=int, default=4)
    arguments = parser.parse_args()
    model = pyedge.Model("smollm2-135m-instruct")
    if not (arguments.out / "adapter_model.safetensors").exists():
        train(model, arguments.out, arguments.epochs)
    started = time.perf_counter()
    name = model.load_lora(arguments.out)
    print(f"\n{model.loras[name]}, loaded in {1000 * (time.perf_counter() - started):.0f} ms")
    for question in ASKED:
        print(f"\n> {question}")
        for lora in (None, name):
            answer = model.generate(conversation(question), lora=lora, temperature=0, max_tokens=60)
            print(f"{'without' if lora is None else 'with'}: {answer}")


if __name__ == "__main__":
    main()
