"""LightGCN with RecBole: prints the seconds of an epoch and those of a full ranking with its metrics.

lightgcn.py FOLDER NAME reads FOLDER/NAME/NAME.train.inter and NAME.test.inter; the setting is that of benches/train.rs.
RecBole writes logs into the working directory.
"""

import sys
import time
import warnings

import torch
from recbole.config import Config
from recbole.data import create_dataset, data_preparation
from recbole.model.general_recommender import LightGCN
from recbole.trainer import Trainer
from recbole.utils import init_seed

THREADS = 2
# RecBole would rank for one user at a time; with more at once than these it gets slower again.
USERS_PER_BATCH = 512


def seconds(run):
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def main(folder, name):
    settings = {
        "data_path": folder,
        "benchmark_filename": ["train", "test", "test"],
        "load_col": {"inter": ["user_id", "item_id"]},
        "use_gpu": False,
        "state": "ERROR",
        "embedding_size": 64,
        "n_layers": 2,
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
    config = Config(model="LightGCN", dataset=name, config_dict=settings)
    torch.set_num_threads(THREADS)
    init_seed(1, reproducibility=True)
    dataset = create_dataset(config)
    # Counted in scores, of all items for each user.
    config["eval_batch_size"] = USERS_PER_BATCH * dataset.item_num
    train, _, test = data_preparation(config, dataset)
    trainer = Trainer(config, LightGCN(config, train.dataset))
    epochs = [seconds(lambda: trainer.fit(train, saved=False, verbose=False)) for _ in range(2)]
    rankings = [seconds(lambda: trainer.evaluate(test, load_best_model=False)) for _ in range(3)]
    print(epochs[1], min(rankings))


warnings.simplefilter("ignore")
# RecBole reads the command line as well.
arguments, sys.argv = sys.argv[1:], sys.argv[:1]
main(*arguments)
