"""Trains with RecBole: prints the seconds of an epoch, or of a fit without epochs, and of a full ranking with its metrics.

train.py MODEL FOLDER NAME reads FOLDER/NAME/NAME.train.inter and NAME.test.inter, for a model of sequences
FOLDER/NAME/NAME.inter with times; the settings are those of benches/train.rs. The ranking is not made for models other than
LightGCN. RecBole writes logs into the working directory.
"""

import sys
import time
import warnings

import torch
from recbole.config import Config
from recbole.data import create_dataset, data_preparation
from recbole.utils import ModelType, get_model, get_trainer, init_seed

THREADS = 2
# RecBole would rank for one user at a time; with more at once than these it gets slower again.
USERS_PER_BATCH = 512

SETTINGS = {
    "data_path": None,
    "load_col": {"inter": ["user_id", "item_id"]},
    "use_gpu": False,
    "state": "ERROR",
    "embedding_size": 64,
    "reg_weight": 1e-4,
    "train_batch_size": 2048,
    "train_neg_sample_args": {
        "distribution": "uniform", "sample_num": 1, "dynamic": False, "candidate_num": 0, "alpha": 1.0,
    },
    # Each call of `fit` is an epoch.
    "epochs": 1,
    "metrics": ["Recall", "Precision", "NDCG", "Hit", "MRR", "MAP"],
    "topk": [10, 20],
    "valid_metric": "NDCG@20",
}
PARTS = {"benchmark_filename": ["train", "test", "test"]}
MODELS = {
    "LightGCN": PARTS | {"n_layers": 2},
    "BPR": PARTS,
    "NGCF": PARTS | {"hidden_size_list": [64, 64], "node_dropout": 0.0, "message_dropout": 0.1},
    "SGL": PARTS | {"n_layers": 2, "ssl_tau": 0.2, "ssl_weight": 0.1},
    "ItemKNN": PARTS | {"k": 100, "shrink": 0.0},
    "SASRec": {
        "load_col": {"inter": ["user_id", "item_id", "timestamp"]},
        # The last two items of each user are not learned from.
        "eval_args": {"split": {"LS": "valid_and_test"}, "order": "TO", "group_by": "user", "mode": "full"},
        "MAX_ITEM_LIST_LENGTH": 50,
        "n_layers": 2,
        "n_heads": 1,
        "hidden_size": 64,
        "inner_size": 64,
        "hidden_act": "relu",
        "hidden_dropout_prob": 0.2,
        "attn_dropout_prob": 0.2,
        "loss_type": "BPR",
    },
}


def seconds(run):
    start = time.perf_counter()
    result = run()
    return time.perf_counter() - start, result


def main(name, folder, dataset):
    config = Config(model=name, dataset=dataset, config_dict=SETTINGS | MODELS[name] | {"data_path": folder})
    torch.set_num_threads(THREADS)
    init_seed(1, reproducibility=True)
    dataset = create_dataset(config)
    # Counted in scores, of all items for each user.
    config["eval_batch_size"] = USERS_PER_BATCH * dataset.item_num
    train, _, test = data_preparation(config, dataset)
    made, model = seconds(lambda: get_model(name)(config, train.dataset))
    if model.type == ModelType.TRADITIONAL:
        # Such a model is fitted when it is made.
        print(made, 0.0)
        return
    trainer = get_trainer(config["MODEL_TYPE"], name)(config, model)
    # The first one of few seconds takes longer.
    turns = 1 if model.type == ModelType.SEQUENTIAL else 2
    epoch = [seconds(lambda: trainer.fit(train, saved=False, verbose=False))[0] for _ in range(turns)][-1]
    rankings = 3 if name == "LightGCN" else 0
    ranked = [seconds(lambda: trainer.evaluate(test, load_best_model=False))[0] for _ in range(rankings)]
    print(epoch, min(ranked, default=0.0))


warnings.simplefilter("ignore")
# RecBole reads the command line as well.
arguments, sys.argv = sys.argv[1:], sys.argv[:1]
main(*arguments)
