"""Texts that try to become markup, script, style, a link, or to hide: 120 of them, none harmful where escaped."""

from __future__ import annotations

ACTS = (
    "<script>window.__xss=1</script>",
    "<img src=x onerror=window.__xss=1>",
    "<svg onload=window.__xss=1>",
    "<svg><script>window.__xss=1</script></svg>",
    "<iframe srcdoc='<script>parent.__xss=1</script>'></iframe>",
    "<iframe src=javascript:window.__xss=1>",
    "<a href=javascript:window.__xss=1>x</a>",
    "<body onload=window.__xss=1>",
    "<details open ontoggle=window.__xss=1>",
    "<input autofocus onfocus=window.__xss=1>",
    "<video src=x onerror=window.__xss=1>",
    "<math><mtext></mtext><style><img src=x onerror=window.__xss=1></style></math>",
    "<style>*{display:none}</style>",
    "<link rel=stylesheet href=//evil.example/x.css>",
    "<meta http-equiv=refresh content='0;url=//evil.example'>",
    "<base href=//evil.example/>",
    "<form action=//evil.example><button>x</button></form>",
    "<object data=//evil.example></object>",
    "<embed src=//evil.example>",
    "<template><script>window.__xss=1</script></template>",
    "<plaintext>",
    "<noscript><p title='</noscript><img src=x onerror=window.__xss=1>'>",
    "<xmp><script>window.__xss=1</script></xmp>",
    "<!--<script>window.__xss=1</script>-->",
)
BREAKS = ("{}", '">{}', "'>{}", "</script>{}", "</style></title></textarea>{}")
"""Ways out of where a text may stand: an element, an attribute of either quote, a script, raw text."""

OTHERS = (
    '" onmouseover="window.__xss=1',
    "' autofocus onfocus='window.__xss=1",
    "` onerror=window.__xss=1 `",
    "javascript:window.__xss=1",
    "data:text/html,<script>window.__xss=1</script>",
    "{{ 7 * 7 }}{% raw %}",
    "{{ self.__init__.__globals__ }}",
    "${window.__xss=1}",
    "&lt;script&gt;window.__xss=1&lt;/script&gt;",
    "&#60;script&#62;window.__xss=1&#60;/script&#62;",
    "\\u003cscript\\u003ewindow.__xss=1\\u003c/script\\u003e",
    "\u2028\u2029</script><script>window.__xss=1</script>",
    "\ufeff<script>window.__xss=1</script>",
    "<scr\x00ipt>window.__xss=1</scr\x00ipt>",
    "\x1b[31mred\x1b]0;title\x07",
    "\u202egpj.exe",
    "\u2066\u2067\u2068 isolates",
    "lone \ud800 surrogate \udcff",
    "tags \U000e0041\U000e0042",
    "=cmd|' /C calc'!A0",
    "<" * 500,
    "]]><![CDATA[<script>window.__xss=1</script>",
    "-->\r\n<script>window.__xss=1</script>",
    "%3Cscript%3Ewindow.__xss=1%3C/script%3E",
)

PAYLOADS = tuple(way.format(act) for act in ACTS for way in BREAKS) + OTHERS
