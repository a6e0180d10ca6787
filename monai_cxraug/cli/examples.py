"""Examples of each command; the program's own help shows them all."""

from __future__ import annotations

from typing import Final

EXAMPLES: Final = {
    "prepare": """\
  cxraug prepare nih --images nih_64.zip --size 64 --out data/nih64
  cxraug prepare phantom --count 600 --out data/phantom""",
    "phantom": """\
  cxraug phantom chexpert --count 600 --out phantoms/chexpert
  cxraug phantom skin --count 200 --size 224 --out phantoms/skin""",
    "filter": """\
  cxraug filter data/nih64 --out data/nih64_filtered
  cxraug filter data/nih64/manifest.csv --filters unsharp minimum --out data/nih64_sharp""",
    "histogram": """\
  cxraug histogram data/nih64 --contrast equalise --out equalised.svg""",
    "plan": """\
  cxraug plan configs/experiments/demo.yaml
  cxraug plan configs/experiments/system_e_imbalance.yaml --assume auroc=0.75 --assume correlation=0.6""",
    "run": """\
  cxraug run configs/experiments/demo.yaml
  cxraug run configs/experiments/nih_first_light.yaml --smoke --out runs/smoke
  cxraug run configs/experiments/nih_first_light.yaml --set seeds=[0] --set budget.threads=1 --out runs/one_seed
  cxraug run configs/experiments/nih_first_light.yaml --scheduler local[2]""",
    "report": """\
  cxraug report runs/demo
  cxraug report runs/demo --language ko""",
    "evaluate": """\
  cxraug evaluate runs/demo --manifest data/other/manifest.csv --split test --out runs/demo_other
  cxraug evaluate bundles/chest_xray_classification --manifest data/other/manifest.csv --out runs/shipped_other""",
    "calibrate": """\
  cxraug calibrate runs/demo/cells/plain-f1-s0 --manifest data/ours/manifest.csv
  cxraug calibrate model.pt --manifest data/ours/manifest.csv --rule sensitivity=0.95""",
    "sample": """\
  cxraug sample runs/demo/generators/Edema-f1-s0 --finding Edema --n 100 --seed 1 --out synthetic/edema
  cxraug sample output/fast50 --finding malignant --n 1147 --manifest data/skin/manifest.csv --out synthetic/malignant
  cxraug sample model.pt --finding Edema --n 500 --start 100 --png --crop 56 64 --out synthetic/more
  cxraug sample model.pt --finding Edema --n 100 --truncation 0.7 --depth 16 --out synthetic/typical""",
    "audit": """\
  cxraug audit synthetic/edema --manifest data/nih64/manifest.csv
  cxraug audit synthetic/diffusion --manifest data/nih64/manifest.csv --classifier models/plain --out audit
  cxraug audit synthetic/edema --manifest data/nih64/manifest.csv --membership --reidentifier models/reidentifier""",
    "reidentifier": """\
  cxraug reidentifier data/nih64 --where resample=area --out models/reidentifier""",
    "enlarge": """\
  cxraug enlarge synthetic/edema --model models/x2 --out synthetic/edema_224 --manifest data/nih224/manifest.csv
  cxraug enlarge --images radiographs/ --model models/x2/model.pt --out enlarged
  cxraug enlarge synthetic/malignant --model RealESRGAN_x2plus.pth --out synthetic/malignant_224""",
    "train": """\
  cxraug train data/skin --synthetic synthetic/malignant --top-up malignant=1197 --limit malignant=50 --out models/50
  cxraug train data/nih64 --finding Edema --where resample=area --overlay loss_alpha --steps 2000 --out models/weighted
  cxraug train data/skin --architecture small_cnn --overlay recipe_adam --held-out data/clinic --out models/small""",
    "predict": """\
  cxraug predict runs/demo/cells/plain-f1-s0 --images radiographs/ --out predictions
  cxraug predict model.pt --images export.zip --out predictions --maps 5""",
    "pacs pull": """\
  cxraug pacs pull --url https://pacs/dicom-web --query Modality=DX --query StudyDate=20260101-20261231 --out pulled
  cxraug pacs pull --url dicom://pacs:104/ARCHIVE --query AccessionNumber=A17 --out pulled""",
    "pacs classify": """\
  cxraug pacs classify runs/demo/cells/plain-f1-s0 --url https://pacs/dicom-web --query Modality=DX --out reports
  cxraug pacs classify model.pt --url https://pacs/dicom-web --query StudyDate=20260105- --out out --maps 3 --store""",
    "pacs export": """\
  cxraug pacs export synthetic/edema --out synthetic_dicom
  cxraug pacs export synthetic/edema --out synthetic_dicom --url https://pacs/dicom-web
  cxraug pacs export synthetic/few --out synthetic_dicom --allow-copies""",
    "study networks": """\
  cxraug study networks data/nih64 --out networks --count 24 --where resample=area""",
    "study build": """\
  cxraug study build data/nih64 --networks networks --split val --out studies/chest
  cxraug study build data/kermany --whole --synthetic synthetic/pneumonia --pictures 60 --per-reader 150 --out study""",
    "study serve": """\
  cxraug study serve studies/chest --answers answers
  cxraug study serve studies/chest --answers answers --host 0.0.0.0 --certificate page.pem --key page.key""",
    "study export": """\
  cxraug study export answers --out tables""",
    "study report": """\
  cxraug study report studies/chest --answers tables --models ResNet-50=runs/pneumonia/cells/plain-f1-s0 --out report
  cxraug study report studies/chest --answers seoul busan --out report --language ko""",
    "bundles copy": """\
  cxraug bundles copy my_bundles""",
    "bundles inspect": """\
  cxraug bundles inspect my_bundles/image_infogan/configs/train.json
  cxraug bundles inspect theirs/configs/inference.json --json""",
    "bundles run": """\
  cxraug bundles run my_bundles/image_infogan/configs/train.json --set manifest=data/skin --set finding=malignant
  cxraug bundles run /shared/theirs/configs/train.json /shared/theirs/configs/smoke.json --trust""",
    "doctor": """\
  cxraug doctor
  cxraug doctor --json > machine.json""",
    "completion": """\
  cxraug completion bash > ~/.local/share/bash-completion/completions/cxraug
  cxraug completion zsh > ~/.zfunc/_cxraug""",
}
