"""Korean: what the page of a study says, by key. The same keys and the same names in braces as ``english.py``."""

from __future__ import annotations

from typing import Final

#: words of a study that this language writes in another way.
GIVEN: Final[dict[str, str]] = {
    "all": "전체",
    "traditional": "전통적 왜곡",
    "cnn": "신경망 왜곡",
    "mixed": "하나씩",
    "photometric": "밝기와 대비",
    "noise": "잡음",
    "blur": "흐림",
    "spatial": "공간",
    "compression": "압축",
    "closer": "더 잘 일치",
    "farther": "덜 일치",
    "no evidence": "근거 없음",
    "sentinels": "확인 문항 정답 부족",
}

WORDS: Final[dict[str, str]] = {
    # --- head and answer ---
    "kicker": "판독자 연구",
    "simulated": "모의 판독자: 이 응답은 프로그램이 만들었습니다",
    "simulated.all": "사람은 응답하지 않았습니다. 판독자 {count}명 중 {count}명이 규칙을 따르는 프로그램입니다. "
    "아래 내용은 분석이 작동함을 보일 뿐, 사람에 대해서는 아무것도 말하지 않습니다.",
    "simulated.some": "판독자 {all}명 중 {count}명은 규칙을 따르는 프로그램입니다: {names}. 아래의 모든 수치에 그 "
    "응답이 들어 있으며, 사람에 대해서는 아무것도 말하지 않습니다.",
    "answer": "답",
    "answer.closer": "예: “{distance}”의 지각 거리는 {reference}보다 더 자주 판독자와 같은 쪽을 택합니다.",
    "answer.farther": "아니요: “{distance}”의 지각 거리는 {reference}보다 덜 자주 판독자와 같은 쪽을 택합니다.",
    "answer.no evidence": "“{distance}”의 지각 거리가 {reference}보다 더 또는 덜 자주 판독자와 같은 쪽을 택한다는 "
    "근거는 없습니다.",
    "answer.none": "분류기가 주어지지 않았거나 강제 선택에 응답한 사람이 없습니다. 이 페이지는 서술할 뿐 답하지 "
    "않습니다.",
    "meaning": "변형된 두 조각을 보았을 때 “{distance}”는 100번 중 {first}번, {reference}는 {second}번 판독자와 "
    "같은 쪽을 택합니다. 이 판독자와 환자들은 {low}에서 {high}까지의 차이와 양립합니다.",
    "meaning.point": "변형된 두 조각을 보았을 때 “{distance}”는 100번 중 {first}번, {reference}는 {second}번 "
    "판독자와 같은 쪽을 택합니다. 구간을 구하기에는 자료가 너무 적습니다.",
    "ceiling": "판독자끼리도 다릅니다. 다른 판독자 한 명은 100번 중 {others}번, 나머지 판독자의 다수는 {majority}번 "
    "한 판독자와 같은 쪽을 택합니다. 이 응답에서는 어떤 거리도 {oracle}을 넘을 수 없습니다.",
    "declared": "주 비교는 응답을 보기 전에 정했습니다: 처음 주어진 분류기(채널 가중치 모두 1)에서 SSIM을 뺀 값, "
    "모든 강제 선택에 대해.",
    "fact.difference": "점수 차이",
    "fact.interval": "95 % 구간",
    "fact.readers": "판독자",
    "fact.trials": "강제 선택",
    "fact.patients": "환자",
    "contents": "이 페이지의 내용",
    # --- sections ---
    "section.choice": "어느 쪽이 더 비슷한가: 강제 선택",
    "section.comparisons": "SSIM과의 차이",
    "section.jnd": "최소 식별 차이",
    "section.thresholds": "왜곡이 보이기 시작하는 세기",
    "section.turing": "실제인가 합성인가: 시각적 튜링 시험",
    "section.readers": "판독자",
    "section.disagreements": "판독자와 거리가 가장 크게 어긋나는 곳",
    "section.methods": "수치의 뜻",
    "section.limits": "한계와 경고",
    "section.provenance": "출처",
    # --- forced choice ---
    "head.distance": "거리",
    "head.family": "왜곡",
    "choice.lead": "거리와 같은 쪽을 택한 판독자의 비율, 문항 평균; 0.5는 우연입니다. 대괄호는 판독자와 환자에 대한 "
    "95 % 구간입니다.",
    "choice.table": "왜곡 종류별 각 거리의 강제 선택 점수",
    "choice.trials": "문항 / 환자",
    "choice.oracle": "이 응답에서의 상한",
    "choice.majority": "나머지 판독자의 다수",
    "choice.others": "다른 판독자 한 명",
    "choice.caption": "막대는 우연 수준에서 시작합니다. 회색 띠는 도달할 수 있는 범위로, 나머지 판독자의 다수가 "
    "얻는 점수에서 시작하여 이 응답에서의 상한(점선)에서 끝납니다.",
    "choice.title": "강제 선택 점수",
    "choice.about": "왜곡 종류별 각 거리의 점수 막대와 95 % 구간",
    "choice.count": "{count}문항",
    "choice.axis": "점수 (같은 쪽을 택한 판독자의 비율)",
    "choice.note": "L2와 PSNR은 영상을 같은 순서로 놓으므로 점수가 같습니다. “linear”는 강제 선택에서 채널 가중치를 "
    "배운 것, “tuned”는 신경망 전체도 배운 것입니다. 둘 다 학습에 쓰지 않은 환자에서 채점합니다.",
    "choice.none": "응답된 강제 선택이 없습니다.",
    # --- comparisons ---
    "comparison.table": "같은 문항과 판독자에서 각 거리에서 SSIM을 뺀 값, 모든 왜곡",
    "comparison.note": "표시된 행이 주 비교입니다. 나머지는 개수에 대해 보정하지 않았으므로 서술로 읽으십시오.",
    "comparison.primary": "주 비교",
    "head.difference": "차이",
    "head.interval": "95 % 구간",
    # --- jnd ---
    "jnd.lead": "차례로 보여 준 {pairs}쌍. 판독자는 그중 {same}를 같다고 답했습니다.",
    "jnd.table": "거리 오름차순에 따른 “같음”의 평균 정밀도",
    "head.precision": "평균 정밀도",
    "jnd.note": "아무것도 모르는 거리라면 “같음”의 비율인 약 {same}에 이릅니다.",
    "thresholds.lead": "세기에 따른 “다름” 응답의 비율. 왜곡의 묶음과, 여섯 쌍 이상에서 보인 개별 왜곡입니다. 각 "
    "왜곡의 범위는 가장 약한 것부터 가장 강한 것까지이며 같은 비율은 같은 간격입니다. 문턱은 추측과 실수를 제외하고 "
    "쌍의 절반이 다르게 보이는 세기이며, 보여 준 세기 안에 있을 때만 적습니다.",
    "thresholds.threshold": "문턱 {value}",
    "thresholds.none": "문턱 없음",
    "thresholds.y": "“다름”의 비율",
    "thresholds.x": "세기 ({unit})",
    "thresholds.range": "범위에서의 위치, 0 가장 약함, 1 가장 강함",
    "thresholds.answers": "응답",
    "thresholds.fit": "맞춘 곡선",
    # --- turing ---
    "turing.lead": "실제 영상 {real}장과 합성 영상 {synthetic}장을 한 장씩. 구별하지 못하면 정확도와 면적은 0.5, "
    "d'는 0입니다.",
    "turing.table": "판독자별 시각적 튜링 시험",
    "turing.mean": "판독자 평균",
    "turing.note": "정확도는 두 종류 비율의 평균입니다. 기준이 0보다 크면 “실제”라고 너무 자주 답한다는 뜻입니다. "
    "구간은 판독자와 환자에 대한 것입니다.",
    "turing.unsure": "확신도를 묻지 않아 면적은 응답만으로 구했습니다.",
    "head.reader": "판독자",
    "head.answers": "응답",
    "head.accuracy": "정확도",
    "head.d_prime": "d'",
    "head.criterion": "기준",
    "head.area": "ROC 면적",
    # --- readers ---
    "readers.rule": "응답을 보기 전에 정한 규칙: 확인 문항의 {least} 미만을 맞힌 판독자는 모든 수치에서 제외합니다. "
    "제외: {all}명 중 {excluded}명.",
    "readers.table": "판독자",
    "readers.counts": "포함",
    "readers.out": "제외: {reason}",
    "readers.no answers": "응답 없음",
    "readers.kappa": "모든 강제 선택에서 우연을 넘는 일치: Fleiss κ {fleiss}, 판독자 쌍의 Cohen κ 평균 {cohen}.",
    "readers.side": "p: 어느 쪽도 선호하지 않는 판독자가 절반에서 이만큼 벗어날 확률, 정확 이항 검정.",
    "head.role": "역할",
    "head.used": "포함 여부",
    "head.sentinels": "확인 문항 정답",
    "head.repeats": "반복 일치",
    "head.repeats_kappa": "반복의 κ",
    "head.left": "“왼쪽” (p)",
    "head.time": "시간 중앙값",
    "role.radiologist": "영상의학과 전문의",
    "role.resident": "전공의",
    "role.physician": "의사",
    "role.radiographer": "방사선사",
    "role.student": "학생",
    "role.other": "기타",
    "role.simulated": "모의",
    "role.years": "{role}, {years}년",
    # --- disagreements ---
    "disagreement.lead": "대부분의 판독자와 “{distance}”가 서로 다른 영상을 택한 강제 선택, 의견이 일치할수록 먼저. "
    "왼쪽부터 첫째 영상, 기준 영상, 둘째 영상.",
    "disagreement.caption": "판독자: {readers}가 {side} 영상. 거리: {first}, {second}.",
    "disagreement.first": "왼쪽",
    "disagreement.second": "오른쪽",
    "disagreement.made": "{first} | {second}",
    "disagreement.reference": "변형 없음",
    "disagreement.none": "대부분의 판독자가 반대쪽을 택한 문항은 없습니다.",
    # --- methods ---
    "method.score": "강제 선택 점수",
    "method.score.text": "문항마다 거리가 더 가깝다고 보는 영상을 택한 판독자의 비율을 얻고, 거리가 같으면 절반을 "
    "얻습니다. 점수는 문항 평균입니다 (Zhang 등, CVPR 2018, arXiv 1801.03924, 4절).",
    "method.ceiling": "상한",
    "method.ceiling.text": "이 응답에서의 상한은 다수의 비율 max(h, 1 − h)의 평균입니다. 판독자가 적으면 다수는 "
    "일부 우연이고, 상한은 새로운 판독자에게 너무 높습니다. 나머지 판독자의 다수는 판독자를 한 명씩 빼고 나머지의 "
    "다수를 그 판독자에게 채점합니다. 이는 한 명 적은 판독자의 다수에 대한 불편 추정이며, 판독자가 무한히 많을 "
    "때보다 낮습니다. 다른 판독자 한 명은 의견이 같은 판독자 쌍의 비율로, h² + (1 − h)²의 불편 추정입니다.",
    "method.interval": "구간",
    "method.interval.text": "부트스트랩 표본 {replicates}개(시드 {seed})에서 판독자와, 그와 독립으로 환자를 모든 "
    "문항과 함께 뽑습니다 (Owen, Annals of Applied Statistics 1, 2007). 판독자 R명에서는 R − 1명을 뽑습니다. 표본의 "
    "가운데 95 %를, 판독자와 환자가 적은 만큼 Student 분포에 따라 추정값을 중심으로 넓힙니다 (Satterthwaite, "
    "Biometrics Bulletin 2, 1946). 차이는 표본마다 구합니다. 판독자 8명과 환자 20명의 모의 연구에서 이 구간은 90 "
    "%(거의 모든 흔들림이 판독자 사이에 있을 때)에서 100 %(판독자와 환자가 모두 같을 때)까지 참값을 담았습니다. "
    "학습된 거리는 그대로 두므로 다시 학습할 때의 흔들림은 구간에 없습니다.",
    "method.jnd": "평균 정밀도",
    "method.jnd.text": "쌍을 거리 오름차순으로 놓고, 같다고 답한 판독자의 비율만큼 같은 것으로 셉니다. 정밀도는 "
    "재현율에 대해 증가하지 않게 하여 재현율에 대해 평균합니다. LPIPS 패키지와 같습니다 (같은 논문 4절).",
    "method.distances": "거리",
    "method.distances.text": "L1과 L2: 절대 차이의 평균과 제곱 차이 평균의 제곱근. PSNR: 음의 데시벨. SSIM과 "
    "MS-SSIM: 1 − 지수, MONAI, 창 11 px (Wang 등, IEEE TIP 13, 2004; Asilomar 2003). FSIM: 1 − 지수 (Zhang 등, IEEE "
    "TIP 20, 2011). 분류기: 단위 길이로 맞춘 활성값의 제곱 차이를 위치에 대해 평균하고 채널과 단계 끝들에 대해 더함 "
    "(Zhang 등, 2018, 식 1).",
    "method.scales": "영상의 크기로는 MS-SSIM의 다섯 배율 중 {scales}개만 가능하며, 그 가중치는 합이 1이 되게 "
    "맞추었습니다.",
    "method.learning": "판단에서 배우기",
    "method.learning.text": "음이 아닌 채널 가중치와, 두 거리에서 판독자 비율로 가는 작은 신경망을 교차 엔트로피로 "
    "함께 맞춥니다. 환자는 {folds}부분으로 나누며, 각 문항의 거리는 그 환자 없이 맞춘 가중치에서 나옵니다.",
    "method.kappa": "일치도",
    "method.kappa.text": "Fleiss, Psychological Bulletin 76, 1971, 문항마다 있는 만큼의 응답으로; Cohen, "
    "Educational and Psychological Measurement 20, 1960에 따름.",
    "method.turing": "탐지",
    "method.turing.text": "d' = z(H) − z(F), 기준 −(z(H) + z(F))/2; 모든 횟수에 1/2, 모든 영상 수에 1을 더함 "
    "(Hautus, Behavior Research Methods 27, 1995).",
    "method.threshold": "문턱",
    "method.threshold.text": "범위에서의 위치에 대해 최대 가능도로 맞춘 Weibull 함수; 추측은 같은 영상 쌍에서 재고, "
    "실수는 2 %로 고정 (Wichmann과 Hill, Perception & Psychophysics 63, 2001). 점은 이웃한 쌍을 모은 것이고, 맞춤은 "
    "그렇지 않습니다.",
    # --- limits ---
    "limits.none": "경고가 없습니다.",
    "limit.one_reader": "판독자 한 명: 구간은 이 판독자의 새로운 환자에 대한 것이며, 다른 판독자에 대해서는 말하지 "
    "않습니다.",
    "limit.few_readers": "판독자 {count}명: 다른 판독자가 얼마나 다를지 대략만 알 수 있으며, 그만큼 구간이 넓습니다.",
    "limit.no_sentinels": "확인 문항에 응답하지 않아 규칙으로 판단할 수 없는 판독자: {names}.",
    "limit.seen": "“{name}”은 이 연구의 환자 {count}명의 영상으로 학습했습니다.",
    "limit.small": "영상이 너무 작아 구하지 못한 거리: {names}.",
    "limit.not_learnt": "“{name}”은 판단에서 배우지 못했습니다: {reason}.",
    "limit.size": "“{name}”은 {size} px 영상으로 학습했고, 이 연구는 {shown} px를 그대로 보여 줍니다.",
    "limit.one_family": "모든 강제 선택이 한 종류입니다.",
    "reason.patients": "환자가 두 명 미만",
    "reason.trials": "응답된 강제 선택이 {least}개 미만",
    # --- provenance ---
    "provenance.study": "연구",
    "provenance.version": "도구의 버전",
    "provenance.table": "표 {name}",
    "provenance.distance": "거리 “{name}”",
    "provenance.files": "이 페이지의 모든 수치는 results.json에, 문항별 거리는 distances.csv에 있습니다.",
    "thousand": "{value}초",
    "none": "n/a",
}
