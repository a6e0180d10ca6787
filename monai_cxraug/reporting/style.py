"""The page's style sheet: light and dark by the reader's preference, and a plain printed form."""

from __future__ import annotations

from typing import Final

from monai_cxraug.reporting.markup import Markup

STYLE: Final = Markup("""
:root{color-scheme:light dark;--paper:#fff;--ink:#1c2429;--soft:#5d6972;--line:#dfe3e6;--panel:#f5f7f8;--link:#1668a8;
--good:#0b6b46;--good-bg:#e2f3ea;--bad:#a32626;--bad-bg:#fbe7e5;--null:#3d5566;--null-bg:#e6edf2;--open:#8a5300;
--open-bg:#fdf0d9}
@media (prefers-color-scheme:dark){:root{--paper:#171b1f;--ink:#e3e7ea;--soft:#9aa6ae;--line:#2d353b;--panel:#1e2429;
--link:#6fb4ea;--good:#7fd6ab;--good-bg:#173427;--bad:#f2a19b;--bad-bg:#3d1f1e;--null:#b5c7d4;--null-bg:#25313a;
--open:#eabf74;--open-bg:#3a2d16}}
*{box-sizing:border-box}
body{margin:0;background:var(--paper);color:var(--ink);line-height:1.55;
font:17px/1.55 Charter,"Bitstream Charter","Iowan Old Style","Source Serif 4",Georgia,"Liberation Serif",serif}
:lang(ko) body{font-family:"Noto Serif KR","Noto Serif CJK KR","Apple SD Gothic Neo","Malgun Gothic",NanumGothic,
"Nanum Gothic","Noto Sans CJK KR","Noto Sans KR",sans-serif;word-break:keep-all}
main{max-width:940px;margin:0 auto;padding:56px 40px 72px}
table,figcaption,.badge,.kicker,dl,details,.note,.legend,.contents,.warning{font-family:system-ui,-apple-system,
"Segoe UI",Roboto,"Liberation Sans",Helvetica,Arial,sans-serif}
h1{font-size:2.05rem;line-height:1.18;margin:.15em 0 .5em;letter-spacing:-.012em;font-weight:600;overflow-wrap:anywhere;
text-wrap:balance}
h2{font-size:1.28rem;line-height:1.3;margin:2.6em 0 .6em;padding-top:.75em;border-top:1px solid var(--line);
font-weight:600}
h3{font-size:1rem;line-height:1.35;margin:1.7em 0 .5em;break-after:avoid}h3 .soft{font-weight:400;font-size:.84rem}
p{margin:.6em 0;max-width:68ch}
.kicker{color:var(--soft);font-size:.8rem;margin:0}
.answer{background:var(--panel);border-radius:10px;padding:24px 28px 20px;margin:1.2em 0 0}
.answer>p{max-width:none}
.answer .lead{font-size:1.3rem;line-height:1.4;margin:.55em 0 .7em}
.badge{display:inline-block;font-size:.86rem;font-weight:600;line-height:1;padding:.5em .85em;border-radius:99px;
border:1px solid currentColor}
.helps{color:var(--good);background:var(--good-bg)}.harms{color:var(--bad);background:var(--bad-bg)}
.none{color:var(--null);background:var(--null-bg)}.incomplete{color:var(--open);background:var(--open-bg)}
.figures{display:flex;flex-wrap:wrap;gap:14px 40px;margin:1.1em 0 .9em;padding:0}
.figures div{min-width:0}.figures dt{font-size:.78rem;color:var(--soft)}
.figures dd{margin:0;font-size:1.18rem;font-weight:600;font-variant-numeric:tabular-nums;white-space:nowrap}
.soft,.note{color:var(--soft)}.note{font-size:.84rem;line-height:1.5;max-width:none}
.scroll{overflow-x:auto;margin:.9em 0 .3em}
table{border-collapse:collapse;width:100%;font-size:.84rem;line-height:1.35;font-variant-numeric:tabular-nums}
th,td{padding:.5em .55em;text-align:right;border-bottom:1px solid var(--line);white-space:nowrap;
vertical-align:middle}
th:first-child,td:first-child{padding-left:2px}th:last-child,td:last-child{padding-right:2px}
thead th{font-weight:600;color:var(--soft);border-bottom:1.5px solid var(--soft);vertical-align:bottom}
tbody th{font-weight:600}.text{text-align:left}
tr.total td,tr.total th{border-top:2px solid var(--soft)}
td .badge{font-size:inherit;line-height:1.3;padding:0;border:0;background:none;white-space:normal;
min-width:8.2em}.few{color:var(--open);font-weight:600}
.grid table{font-size:.76rem}.grid th,.grid td{padding:.4em .3em}.span{text-align:center}
.grid .reported{font-weight:400}
figure{margin:1em 0 .4em}figure .scroll{margin:0}
figure svg{display:block;width:100%;height:auto}.scroll>svg{min-width:640px}
.narrow{display:none}.narrow svg{max-width:480px;margin:auto}
.unseen{position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%);white-space:nowrap}
.scroll{position:relative}.scroll th:first-child{position:sticky;left:0;background:var(--paper);z-index:1}
.answer .scroll th:first-child{background:var(--panel)}
.panels{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,260px),1fr));gap:14px 22px;
margin:.6em 0 1em}
.panels svg{display:block;width:100%;max-width:420px;height:auto;break-inside:avoid}
.pairs{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,380px),1fr));gap:0 36px}
.pairs>div{min-width:0}
.legend{list-style:none;display:flex;flex-wrap:wrap;gap:4px 20px;padding:0;margin:.5em 0;font-size:.84rem}
.legend li{margin:0}.legend svg{margin-right:7px;vertical-align:-1px}
.contents{margin:1.3em 0 0;font-size:.84rem}.contents ul{display:flex;flex-wrap:wrap;gap:4px 18px;
list-style:none;padding:0;margin:0}.contents li{margin:0}.contents a{text-decoration:none}
.contents a:hover{text-decoration:underline}
.warning{color:var(--open);background:var(--open-bg);border-radius:8px;padding:.6em .9em;max-width:none;font-weight:600}
.nearest img{width:auto;max-width:100%}
.prose td{white-space:normal}.prose td:nth-child(3){min-width:15em}
figure img{display:block;width:100%;height:auto;border-radius:8px}
.maps{display:grid;grid-template-columns:repeat(auto-fill,minmax(220px,1fr));gap:12px}
.maps figure{margin:0}.maps figure img{border-radius:4px;image-rendering:pixelated}.maps figcaption{margin-top:.3em;
overflow-wrap:anywhere;font-size:.78rem}
figcaption{font-size:.84rem;color:var(--soft);margin-top:.7em;line-height:1.5}
dl.facts{display:grid;grid-template-columns:minmax(9em,max-content) 1fr;gap:.28em 1.6em;font-size:.86rem;margin:.8em 0}
dl.facts dt{color:var(--soft)}dl.facts dd{margin:0;overflow-wrap:anywhere;font-variant-numeric:tabular-nums}
ul{padding-left:1.15em;margin:.6em 0}li{margin:.3em 0;max-width:68ch;overflow-wrap:anywhere}
details{margin:.9em 0;font-size:.9rem}summary{cursor:pointer;color:var(--link)}
code{font:.9em ui-monospace,SFMono-Regular,Menlo,"Liberation Mono",monospace}
abbr{text-decoration:none;border-bottom:1px dotted var(--soft)}
a{color:var(--link)}:focus-visible{outline:2px solid var(--link);outline-offset:3px;border-radius:3px}
@media (max-width:640px){body{font-size:16px}main{padding:28px 18px 48px}h1{font-size:1.6rem}
.answer{padding:18px 18px 14px;margin-inline:-6px}.answer .lead{font-size:1.14rem}.figures{gap:10px 28px}
dl.facts{grid-template-columns:1fr;gap:0}dl.facts dd{margin-bottom:.55em}
.wide{display:none}.narrow{display:block}.span{text-align:left}table{font-size:.76rem}th,td{padding:.45em .32em}
thead th{white-space:normal}.short{display:inline-block;max-width:4.6em;white-space:normal}
td.text{white-space:normal}
tbody th:first-child{max-width:44vw;white-space:normal;overflow-wrap:break-word}td .badge{min-width:4.6em}}
@media print{:root{--paper:#fff;--ink:#000;--soft:#444;--line:#bbb;--panel:#f5f7f8;--good:#0b6b46;--good-bg:#fff;
--bad:#a32626;--bad-bg:#fff;--null:#333;--null-bg:#fff;--open:#7a4900;--open-bg:#fff}body{font-size:11pt}
main{max-width:none;padding:0}h2{break-after:avoid}figure,tr,.answer{break-inside:avoid}
.scroll>svg{min-width:0}.scroll{overflow:visible}
.wide{display:block}.narrow,.contents{display:none}.panels{grid-template-columns:repeat(3,1fr)}a{color:inherit}
table{font-size:8pt}th,td{padding:.35em .4em}details table{font-size:6.5pt}details th,details td{white-space:normal}
.answer{border:1px solid var(--line)}@page{size:A4;margin:16mm 15mm}
details:not([open]){display:none}#card details,#claim details{display:block}.legend{break-after:avoid}
tr,.legend,.maps figure{break-inside:avoid}
.scroll th:first-child{position:static}
#card details::details-content,#claim details::details-content{content-visibility:visible;height:auto}}
""")
