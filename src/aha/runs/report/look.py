"""How a page looks, and the script that reads charts under pointer, finger and arrow keys. No other file is needed."""


def fold(title: str, inside: str, *, gist: str = "", shown: bool = False) -> str:
    """A part that unfolds: its title and inside are HTML already, ``gist`` is a word on what is in it."""
    words = f'<span class="gist">{gist}</span>' if gist else ""
    return (
        f'<details class="fold"{" open" if shown else ""}><summary>{title}{words}</summary>{inside}</details>'
    )


STYLE = """
:root{color-scheme:light dark;--page:#fbfaf8;--card:#fff;--ink:#1b1d21;--soft:#5c6068;--faint:#dcdad5;
--c0:#85888f;--c1:#2361c4;--c2:#c45508;--c3:#14805a;--c4:#7b4bc9;--c5:#b8304f;--good:#14744f;--bad:#b3283f;
--tint:#fff6df;--edge:#e2b341;--mark:#fdf0c4}
@media (prefers-color-scheme:dark){:root{--page:#121417;--card:#1a1d21;
--ink:#e8e6e1;--soft:#a2a6ae;--faint:#33373d;
--c0:#8d929b;--c1:#76a9ff;--c2:#ff9c52;--c3:#4fc796;--c4:#b598ff;--c5:#ff8098;--good:#5bd19f;--bad:#ff8d9c;
--tint:#2b2512;--edge:#a37d1f;--mark:#4a3f17}}
*{box-sizing:border-box}
body{margin:0;background:var(--page);color:var(--ink);font:16px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,
"Noto Sans","Noto Sans CJK SC",sans-serif;overflow-wrap:anywhere}
main{max-width:1140px;margin:0 auto;padding:28px 20px 60px}
h1{font-size:clamp(1.5rem,4.5vw,2.2rem);line-height:1.2;margin:0 0 6px;letter-spacing:-.015em}
h2{font-size:1.35rem;margin:44px 0 8px;padding-top:14px;border-top:2px solid var(--faint)}
h2 span{color:var(--soft);font-weight:400;font-size:.95rem}
h3{font-size:1.05rem;margin:28px 0 6px}
p{max-width:72ch;margin:8px 0}.soft{color:var(--soft)}.lead{font-size:1.12rem}
small,.small{font-size:.86rem}
nav a{color:var(--c1);margin-right:14px}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(150px,1fr));gap:12px;margin:22px 0 4px}
.tile{background:var(--card);border:1px solid var(--faint);border-radius:10px;padding:12px 14px}
.tile b{display:block;font-size:1.55rem;line-height:1.2;font-variant-numeric:tabular-nums;white-space:nowrap}
.tile s{text-decoration:none;color:var(--soft);font-weight:400;font-size:1rem}
.tile span{color:var(--soft);font-size:.86rem}
.scroll{overflow-x:auto}.scroll table{overflow-wrap:normal}.scroll .set td:last-child{overflow-wrap:anywhere}
.nowrap{white-space:nowrap}
table{border-collapse:collapse;font-variant-numeric:tabular-nums;margin:8px 0}
th,td{text-align:right;padding:5px 14px 5px 0;border-bottom:1px solid var(--faint);vertical-align:middle}
th{font-weight:600;color:var(--soft);font-size:.86rem;vertical-align:bottom}
th:first-child,td:first-child{text-align:left}td .ci{color:var(--soft);font-size:.82rem;white-space:nowrap}
table.left td,table.left th{text-align:left;vertical-align:top}
.strip{width:160px;height:20px;display:block}.strip .axis,.grid{stroke:var(--faint);fill:none}
.strip .was{fill:var(--card);stroke:var(--c0);stroke-width:2}.strip .now{fill:var(--c1);stroke:var(--c1)}
.strip .bar{stroke-width:5;opacity:.35;fill:none}.strip .bar.was{stroke:var(--c0)}
.warn,.note{border-left:4px solid var(--edge);background:var(--tint);border-radius:0 8px 8px 0;
padding:8px 14px;margin:18px 0;max-width:84ch}.note{border-color:var(--c1);background:var(--card)}
.warn p,.note p,.warn ul,.note ul{margin:2px 0;max-width:none}
.charts{display:grid;gap:22px 26px;grid-template-columns:repeat(auto-fill,minmax(min(100%,310px),1fr));
margin:14px 0}
.charts.large{grid-template-columns:repeat(auto-fill,minmax(min(100%,430px),1fr))}
.chart{margin:0;background:var(--card);border:1px solid var(--faint);border-radius:10px;padding:12px 12px 6px;
display:flex;flex-direction:column}
figcaption{font-size:.84rem;line-height:1.4;color:var(--soft)}figcaption b{color:var(--ink);font-size:.98rem;
display:block}.plot{position:relative;margin-top:auto}.plot svg{width:100%;height:auto;display:block;
overflow:visible;touch-action:pan-y}
.plot svg:focus-visible,summary:focus-visible{outline:2px solid var(--c1);outline-offset:3px}
.chart text{font-size:11px;fill:var(--soft);font-variant-numeric:tabular-nums}.chart .unit{font-size:10px}
.line,.whisker{fill:none;stroke-width:2;stroke-linejoin:round;stroke-linecap:round}
.dashed.line{stroke-dasharray:5 4}
.band{opacity:.16;stroke:none}.limit{stroke:var(--edge);stroke-width:1.2;stroke-dasharray:2 4;fill:none}
.cross{stroke:var(--soft);stroke-width:1}.dot{stroke:var(--card);stroke-width:1}.line.c0{stroke-width:1.4}
.legend{list-style:none;display:flex;flex-wrap:wrap;gap:1px 14px;padding:0;margin:6px 0 4px;font-size:.8rem;
color:var(--soft)}.legend svg{width:22px;height:8px;margin-right:5px}.legend b{color:var(--ink);
font-variant-numeric:tabular-nums}
.tip{position:absolute;top:0;pointer-events:none;background:var(--ink);color:var(--page);border-radius:6px;
padding:3px 8px;font-size:.76rem;white-space:pre;line-height:1.4;font-variant-numeric:tabular-nums}
.pair{background:var(--card);border:1px solid var(--faint);border-radius:10px;margin:14px 0;padding:12px 14px}
.pair>p{margin:0 0 8px;max-width:none}.sides{display:grid;grid-template-columns:1fr 1fr;gap:10px 18px}
.side{min-width:0}.side h4{margin:0 0 4px;font-size:.9rem;font-weight:600}
.right{color:var(--good)}.wrong{color:var(--bad)}
.text{white-space:pre-wrap;unicode-bidi:isolate;font:.84rem/1.55 ui-monospace,SFMono-Regular,Menlo,Consolas,
"DejaVu Sans Mono","Liberation Mono",monospace;
max-height:22em;overflow:auto;border-left:2px solid var(--faint);
padding:2px 0 2px 12px;margin:0 0 6px}
.think{color:var(--soft)}.tag{color:var(--c4);font-size:.92em}.answer{font-weight:700}
mark{background:var(--mark);color:inherit;border-radius:3px;padding:0 2px}
.scores{list-style:none;margin:0;padding:0;font-size:.82rem;color:var(--soft)}
.fold{border-top:1px solid var(--faint);margin:14px 0}.fold>summary{padding:8px 0;color:var(--ink)}
.fold>summary h2,.fold>summary h3{display:inline;border:0;margin:0;padding:0}
.fold>summary:hover h2,.fold>summary:hover h3{color:var(--c1)}
.fold .gist{color:var(--soft);font-size:.9rem;margin-left:8px}
section>.fold{border-top:2px solid var(--faint)}
details{margin:8px 0}summary{cursor:pointer;color:var(--c1)}code{font-size:.86em}
.set td{font-size:.88rem}
.set td:last-child{font-family:ui-monospace,Menlo,Consolas,monospace;font-size:.84rem}
.sets{display:grid;gap:8px 34px;grid-template-columns:repeat(auto-fill,minmax(min(100%,330px),1fr))}
@media (max-width:640px){main{padding:18px 14px 40px}.sides{grid-template-columns:1fr}
th,td{padding-right:10px}
.strip{width:110px}td .ci{display:block}}
@media (max-width:560px){.wide{display:none}.scroll{font-size:.92rem}}
@media print{:root{--page:#fff;--card:#fff;--ink:#000;--soft:#444;--faint:#ccc;--c0:#777;--c1:#1d55b0;
--c2:#b04a00;--c3:#0d6b49;--c4:#6a3bb8;--c5:#a02040;--good:#0d6b49;--bad:#a02040;--tint:#fff;--mark:#eee}
main{padding:0;max-width:none}nav{display:none}.tile b{font-size:1.15rem}.tile s{font-size:.85rem}
.text{max-height:none;overflow:visible}
.chart,.tile,.warn,.note,tr{break-inside:avoid}h2,h3{break-after:avoid}.charts,.charts.large{grid-template-columns:
1fr 1fr}body{font-size:12px}}
""" + "".join(
    f".line.c{i},.whisker.c{i}{{stroke:var(--c{i})}}\n.dot.hollow.c{i}{{fill:var(--card);stroke:var(--c{i});stroke-width:2}}.dot.c{i},.band.c{i}{{fill:var(--c{i})}}\n"
    for i in range(6)
)

SCRIPT = """
for(const svg of document.querySelectorAll('svg[data-chart]')){
const d=JSON.parse(svg.dataset.chart),[l,r,t,b]=d.box,[x0,x1]=d.x,said=svg.getAttribute('aria-label');
let line,tip,at=-1;
const xs=[...new Set(d.series.flatMap(([,p])=>p.map(q=>q[0])))].sort((a,b)=>a-b);
const show=v=>d.kind==='rate'?(100*v).toFixed(1)+'%':Math.abs(v)>=100?Math.round(v).toLocaleString('en'):
String(+v.toPrecision(3));
const where=x=>d.axis==='step'?Math.round(x):x>=1e4?x.toLocaleString('en',{notation:'compact'}):+x.toPrecision(4);
const hide=()=>{if(line){line.remove();tip.remove();line=tip=null;at=-1;svg.setAttribute('aria-label',said)}};
const read=i=>{
at=i;const best=xs[i],box=svg.getBoundingClientRect();
const rows=d.series.map(([n,p])=>[n,p.find(q=>q[0]===best)]).filter(q=>q[1]).map(([n,q])=>n+'  '+show(q[1]));
const px=l+(best-x0)/(x1-x0)*(r-l);
if(!line){line=document.createElementNS(svg.namespaceURI,'line');line.setAttribute('class','cross');
svg.append(line);tip=document.createElement('div');tip.className='tip';tip.setAttribute('role','status');svg.parentNode.append(tip)}
for(const[k,v]of[['x1',px],['x2',px],['y1',t],['y2',b]])line.setAttribute(k,v);
tip.textContent=[d.axis+' '+where(best),...rows].join('\\n');
const left=px*box.width/svg.viewBox.baseVal.width,far=left>box.width/2;
tip.style.left=far?'auto':left+8+'px';tip.style.right=far?box.width-left+8+'px':'auto'};
const pointed=e=>{
const box=svg.getBoundingClientRect(),px=(e.clientX-box.left)*svg.viewBox.baseVal.width/box.width;
const want=x0+(px-l)/(r-l)*(x1-x0);let best=0;
xs.forEach((x,i)=>{if(Math.abs(x-want)<Math.abs(xs[best]-want))best=i});read(best)};
svg.addEventListener('pointermove',pointed);svg.addEventListener('pointerdown',pointed);
svg.addEventListener('pointerleave',e=>{if(e.pointerType!=='touch')hide()});svg.addEventListener('blur',hide);
addEventListener('pointerdown',e=>{if(!svg.contains(e.target))hide()});
svg.addEventListener('keydown',e=>{
const by={ArrowRight:1,ArrowLeft:-1,PageDown:10,PageUp:-10,Home:-1e9,End:1e9}[e.key];
if(e.key==='Escape')hide();if(by===undefined)return;e.preventDefault();
const from=at<0?(by<0?xs.length:-1):at;read(Math.min(xs.length-1,Math.max(0,from+by)));
svg.setAttribute('aria-label',tip.textContent.replaceAll('\\n',', '))})}
const reveal=()=>{const to=location.hash.length>1&&document.getElementById(decodeURIComponent(location.hash.slice(1)));
const fold=to&&to.querySelector(':scope>details');if(fold){fold.open=true;to.scrollIntoView()}};
addEventListener('hashchange',reveal);reveal();
for(const a of document.querySelectorAll('nav a'))a.addEventListener('click',()=>setTimeout(reveal));
addEventListener('beforeprint',()=>{for(const d of document.querySelectorAll('details'))d.open=true});
"""
