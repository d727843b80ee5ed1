//! What templates print, and what is said about wrong ones.

use super::*;
use serde_json::json;

fn print(template: &str) -> Result<String, String> {
    let value = json!({
        "Id": "abc", "Name": "web", "Size": 5, "Ratio": 1.5, "On": true, "Off": false, "Nothing": null, "Empty": [],
        "State": {"Status": "running", "Pid": 42, "Health": {"Log": [{"Output": "a"}, {"Output": "b"}]}},
        "Cmd": ["sh", "-c"], "Labels": {"b": "2", "a": "1"}, "Under_score": "u",
    });
    Template::parse("t", template).and_then(|t| t.print(&value)).map_err(|e| e.to_string())
}

#[test]
fn what_templates_print() {
    for (template, wanted) in [
        ("", ""),
        ("plain } text", "plain } text"),
        ("{{.Id}} {{ .Name }}", "abc web"),
        ("{{.ID}}", "abc"),
        ("{{.State.Status}}:{{.State.Pid}}", "running:42"),
        ("{{.Size}} {{.Ratio}} {{.On}} {{.Nothing}}", "5 1.5 true <no value>"),
        ("{{.Cmd}} {{.Labels}} {{.Empty}}", "[sh -c] map[a:1 b:2] []"),
        ("{{json .}}", &json_of_all()),
        ("{{json .Cmd}} {{.Cmd | json}} {{json .Name}}", r#"["sh","-c"] ["sh","-c"] "web""#),
        ("{{.Labels.a}}[{{.Labels.zz}}]{{index .Labels \"b\"}}{{index .Labels \"q\"}}", "1[]2"),
        ("{{index .Cmd 1}} {{len .Cmd}} {{len .Name}} {{len .Labels}}", "-c 2 3 2"),
        ("{{(index .State.Health.Log 1).Output}}", "b"),
        ("{{range .Cmd}}<{{.}}>{{end}}{{range .Empty}}x{{else}}none{{end}}", "<sh><-c>none"),
        ("{{range $i, $c := .Cmd}}{{$i}}={{$c}} {{end}}", "0=sh 1=-c "),
        ("{{range $k, $v := .Labels}}{{$k}}{{$v}}{{$.Name}} {{end}}", "a1web b2web "),
        ("{{range .State.Health.Log}}{{.Output}}{{end}}", "ab"),
        ("{{if .On}}yes{{else}}no{{end}} {{if .Off}}yes{{else}}no{{end}} {{if .Empty}}yes{{end}}", "yes no "),
        ("{{if .Off}}a{{else if .On}}b{{else}}c{{end}}", "b"),
        ("{{if eq .Name \"web\"}}1{{end}}{{if ne .Size 5}}2{{end}}{{if and .On (not .Off)}}3{{end}}", "13"),
        ("{{if eq .Name \"x\" \"web\"}}1{{end}}{{if or .Off .Name}}2{{end}}{{if gt .Size 4}}3{{end}}", "123"),
        ("{{with .State}}{{.Status}}{{end}}{{with .Nothing}}x{{else}}-{{end}}", "running-"),
        ("{{$x := .Name}}{{$x}}{{$x = \"y\"}}{{$x}}", "weby"),
        (
            "{{printf \"%s-%05d|%-5s|%5s|%q|%.1f|%t|%v|%%\" .Name .Size .Id .Id .Id .Ratio .On .Cmd}}",
            "web-00005|abc  |  abc|\"abc\"|1.5|true|[sh -c]|%",
        ),
        ("{{printf \"%d\" .Name}} {{printf \"%s\"}}", "%!d(string=web) %!s(MISSING)"),
        ("{{upper .Name}} {{.Name | upper | lower}} {{title \"ab cd\"}}", "WEB web Ab Cd"),
        (
            "{{join .Cmd \",\"}} {{index (split \"a:b:c\" \":\") 2}} {{truncate .Name 2}} [{{pad .Id 1 2}}]",
            "sh,-c c we [ abc  ]",
        ),
        ("{{slice .Id 1}} {{slice .Cmd 0 1}} {{print .Name 1 2 .Id}} {{println .Size}}", "bc [sh] web1 2abc 5\n"),
        ("a {{- \" b \" -}} c", "a b c"),
        ("a{{/* no */}}b {{- /* trim */ -}} c", "abc"),
        ("{{`raw`}} {{\"q\\t\\\"\"}} {{true}} {{1.5}} {{.Under_score}}", "raw q\t\" true 1.5 u"),
    ] {
        assert_eq!(print(template).as_deref(), Ok(wanted), "{template}");
    }
}

#[test]
fn absurd_widths_are_cut() {
    assert_eq!(print("{{printf \"%999999999999999999d\" .Size}}").unwrap().len(), 1_000_000);
    assert!(print("{{printf \"%.999999999f\" .Ratio}}").unwrap().starts_with("1.5000"));
}

fn json_of_all() -> String {
    print("{{$}}").unwrap();
    print("{{. | json}}").unwrap()
}

#[test]
fn what_is_wrong() {
    for (template, wanted) in [
        ("{{.Foo}}", "template: t:1:2: executing \"t\" at <.Foo>: can't evaluate field Foo in type interface {}"),
        (
            "x\n{{.State.Foo}}",
            "template: t:2:2: executing \"t\" at <.State.Foo>: can't evaluate field Foo in type interface {}",
        ),
        ("{{.Nothing.A}}", "template: t:1:2: executing \"t\" at <.Nothing.A>: nil pointer evaluating interface {}.A"),
        ("{{.ID", "template: 1:5: unclosed action"),
        ("{{frob .ID}}", "template: 1:2: function \"frob\" not defined"),
        ("{{if .On}}x", "template: 1:2: unexpected EOF: {{end}} is missing"),
        ("{{end}}", "template: 1:2: unexpected {{end}}"),
        ("{{}}", "template: 1:0: missing value for command"),
        ("{{index .Cmd 7}}", "template: t:1:2: executing \"t\" error calling index: index out of range: 7"),
        ("{{\"abc}}", "template: 1:2: unterminated quoted string"),
        ("{{template \"x\"}}", "template: 1:2: {{template}} is not supported"),
        ("{{(.Id}}", "template: 1:2: unclosed left paren"),
        ("{{.Id .Name}}", "template: t:1:2: executing \"t\" can't give argument to non-function"),
        ("{{$y}}", "template: t:1:2: executing \"t\" undefined variable: $y"),
        ("{{range .Size}}{{end}}", "template: t:1:8: executing \"t\" range can't iterate over 5"),
    ] {
        assert_eq!(print(template), Err(wanted.to_owned()), "{template}");
    }
}

#[test]
fn what_is_too_deep_is_an_error_and_no_end() {
    let nested = |open: &str, inside: &str, close: &str, depth: usize| {
        format!("{}{inside}{}", open.repeat(depth), close.repeat(depth))
    };
    let groups = |depth| format!("{{{{{}}}}}", nested("(", "1", ")", depth));
    assert_eq!(print(&groups(90)).as_deref(), Ok("1"));
    assert!(print(&groups(60_000)).unwrap_err().contains("too many parentheses"));
    let blocks = |depth| nested("{{if true}}", "x", "{{end}}", depth);
    assert_eq!(print(&blocks(90)).as_deref(), Ok("x"));
    assert!(print(&blocks(10_000)).unwrap_err().contains("too many blocks"));
}
