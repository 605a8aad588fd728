//! Reads what Helm says when it fails: the one place where Helm's words are matched.
//!
//! Words that are not known here reach people as they are.

/// What a failure is about.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Failure {
    /// Dependencies of the chart that are not in its `charts/`.
    Dependencies(Vec<String>),
    /// A template is wrong.
    Template(Template),
    /// The values break the schemas of charts: what is wrong with them.
    Schema(Vec<String>),
    /// A file of the chart, or of its values, cannot be read.
    File { file: String, line: Option<u32>, message: String },
    /// Anything else.
    Other(String),
}

/// What is wrong with a template.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Template {
    /// The template that Helm began with.
    pub(super) file: String,
    /// Where the fault is: in that template, or in one that it includes.
    pub(super) place: Place,
    /// Where the template that Helm began with calls the faulty one.
    pub(super) caller: Option<Place>,
    pub(super) message: String,
    pub(super) fault: TemplateFault,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum TemplateFault {
    /// It cannot be read, whatever the values are.
    Syntax,
    /// It includes a template that is nowhere.
    Missing,
    /// It fails with these values.
    Execution,
    /// What it renders is not YAML.
    Output,
}

/// A template, and a line in it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Place {
    pub(super) file: String,
    pub(super) line: Option<u32>,
}

/// Reads what Helm printed on stderr.
pub(super) fn explain(said: &str) -> Failure {
    let said = error_of(said);
    dependencies(said)
        .or_else(|| parse_error(said))
        .or_else(|| execution_error(said))
        .or_else(|| frames(said))
        .or_else(|| output_error(said))
        .or_else(|| schema(said))
        .or_else(|| file(said))
        .unwrap_or_else(|| Failure::Other(one_line(said)))
}

/// Cuts warnings before the error and advice after it off.
fn error_of(said: &str) -> &str {
    let start = if said.starts_with("Error: ") { Some(0) } else { said.find("\nError: ").map(|at| at + 1) };
    let error = start.map_or(said, |start| &said[start + "Error: ".len()..]);
    error.split("\n\nUse --debug flag").next().unwrap_or(error).trim()
}

fn one_line(text: &str) -> String {
    text.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join(" ")
}

fn dependencies(said: &str) -> Option<Failure> {
    let (_, names) = said.split_once("found in Chart.yaml, but missing in charts/ directory: ")?;
    Some(Failure::Dependencies(names.lines().next()?.split(',').map(|name| name.trim().to_owned()).collect()))
}

/// `parse error at (chart/templates/a.yaml:24): undefined variable "$labels"`
fn parse_error(said: &str) -> Option<Failure> {
    let (place, message) = said.strip_prefix("parse error at (")?.split_once("): ")?;
    Some(at(place, message, TemplateFault::Syntax))
}

/// `execution error at (chart/templates/a.yaml:4:11): set the name`, from `fail` and `required`.
fn execution_error(said: &str) -> Option<Failure> {
    let (place, message) = said.strip_prefix("execution error at (")?.split_once("): ")?;
    Some(at(place, message, TemplateFault::Execution))
}

fn at(place: &str, message: &str, fault: TemplateFault) -> Failure {
    let place = Place::read(place);
    let file = place.file.clone();
    Failure::Template(Template { file, place, caller: None, message: one_line(message), fault })
}

/// ```text
/// chart/templates/a.yaml:4:11
///   executing "chart/templates/a.yaml" at <include "deep" .>:
///     error calling include:
/// chart/templates/_h.tpl:2:10
///   executing "deep" at <.Values.x.y>:
///     nil pointer evaluating interface {}.y
/// ```
fn frames(said: &str) -> Option<Failure> {
    let lines: Vec<&str> = said.lines().collect();
    let is_frame = |line: &&str| Place::frame(line).is_some();
    let first = Place::frame(lines.first()?)?;
    let innermost = lines.iter().rposition(is_frame)?;
    let place = Place::frame(lines[innermost])?;
    let rest = one_line(&lines[innermost + 1..].join("\n"));
    let mut message = rest.split_once("\" at <").map_or(rest.clone(), |(_, at)| format!("<{at}"));
    let missing = "template: no template ";
    let fault = match message.split_once(missing) {
        Some((_, name)) => {
            let name = name.split(" associated with").next().unwrap_or(name);
            message = format!("no template {name}");
            TemplateFault::Missing
        }
        None => TemplateFault::Execution,
    };
    let file = first.file.clone();
    let caller = (innermost > 0).then_some(first);
    Some(Failure::Template(Template { file, place, caller, message, fault }))
}

/// `YAML parse error on chart/templates/a.yaml: error converting YAML to JSON: yaml: line 5: …`
fn output_error(said: &str) -> Option<Failure> {
    let (file, message) = said.strip_prefix("YAML parse error on ")?.split_once(": ")?;
    let message = one_line(message);
    let message = message.trim_start_matches("error converting YAML to JSON: ").trim_start_matches("yaml: ");
    let message = format!("what it renders is not YAML: {message}");
    let place = Place { file: file.to_owned(), line: None };
    let (file, fault) = (file.to_owned(), TemplateFault::Output);
    Some(Failure::Template(Template { file, place, caller: None, message, fault }))
}

/// ```text
/// values don't meet the specifications of the schema(s) in the following chart(s):
/// chart:
/// - at '/replicas': got string, want number
/// ```
fn schema(said: &str) -> Option<Failure> {
    let rest = said.strip_prefix("values don't meet the specifications of the schema(s)")?;
    let (mut chart, mut found) = ("", Vec::new());
    for line in rest.lines().skip(1).map(str::trim).filter(|line| !line.is_empty()) {
        match line.strip_prefix("- ") {
            Some(fault) => {
                let fault = fault.replace("at '': ", "").replacen("at '", "value ", 1).replacen("':", ":", 1);
                found.push(format!("the schema of {chart} is not met: {fault}"));
            }
            None => chart = line.trim_end_matches(':'),
        }
    }
    (!found.is_empty()).then_some(Failure::Schema(found))
}

/// `failed to parse values.yaml: … yaml: line 3: …`, `cannot load Chart.yaml: … yaml: line 5: …`
fn file(said: &str) -> Option<Failure> {
    let rest = said.strip_prefix("failed to parse ").or_else(|| said.strip_prefix("cannot load "))?;
    let (file, message) = rest.split_once(": ")?;
    let message = one_line(message);
    let message = message.rsplit_once("yaml: ").map_or(message.as_str(), |(_, message)| message);
    let placed = message.strip_prefix("line ").and_then(|rest| rest.split_once(": "));
    let (line, message) = match placed.and_then(|(line, message)| Some((line.parse().ok()?, message))) {
        Some((line, message)) => (Some(line), message),
        None => (None, message),
    };
    Some(Failure::File { file: file.to_owned(), line, message: message.to_owned() })
}

impl Place {
    /// Reads `file:line` or `file:line:column`.
    fn read(text: &str) -> Self {
        let mut parts = text.splitn(3, ':');
        let file = parts.next().unwrap_or_default().to_owned();
        Self { file, line: parts.next().and_then(|line| line.parse().ok()) }
    }

    /// Reads a line that says `file:line:column` and nothing else.
    fn frame(line: &str) -> Option<Self> {
        let mut parts = line.trim_end().rsplitn(3, ':');
        let is_number = |part: &str| part.parse::<u32>().is_ok();
        let (column, number, file) = (parts.next()?, parts.next()?, parts.next()?);
        let is_frame = is_number(column) && is_number(number) && file.contains('/') && !file.starts_with(' ');
        is_frame.then(|| Self { file: file.to_owned(), line: number.parse().ok() })
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.line {
            Some(line) => write!(f, "{}:{line}", self.file),
            None => f.write_str(&self.file),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn template(said: &str) -> String {
        match explain(said) {
            Failure::Template(Template { place, caller, message, fault, .. }) => {
                let caller = caller.map(|caller| format!(" from {caller}")).unwrap_or_default();
                format!("{place}{caller} | {message} | {fault:?}")
            }
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn faults_of_templates_are_read_with_their_place() {
        let texts = [
            "Error: parse error at (c/templates/rule.yaml:24): undefined variable \"$labels\"\n\nUse --debug flag to render out invalid YAML",
            "level=WARN msg=x\nError: execution error at (c/templates/a.yaml:4:11): set the name",
            "Error: c/templates/a.yaml:4:18\n  executing \"c/templates/a.yaml\" at <.Values.a.b>:\n    nil pointer evaluating interface {}.b\n",
            "Error: c/templates/a.yaml:4:11\n  executing \"c/templates/a.yaml\" at <include \"deep\" .>:\n    error calling include:\nc/templates/_h.tpl:2:10\n  executing \"deep\" at <.Values.x.y>:\n    nil pointer evaluating interface {}.y\n",
            "Error: c/templates/a.yaml:4:11\n  executing \"c/templates/a.yaml\" at <include \"nope\" .>:\n    error calling include:\ntemplate: no template \"nope\" associated with template \"gotpl\"\n",
            "Error: YAML parse error on c/templates/a.yaml: error converting YAML to JSON: yaml: line 5: mapping values are not allowed in this context",
        ];
        let read: Vec<String> = texts.into_iter().map(template).collect();
        insta::assert_snapshot!(read.join("\n"), @r#"
        c/templates/rule.yaml:24 | undefined variable "$labels" | Syntax
        c/templates/a.yaml:4 | set the name | Execution
        c/templates/a.yaml:4 | <.Values.a.b>: nil pointer evaluating interface {}.b | Execution
        c/templates/_h.tpl:2 from c/templates/a.yaml:4 | <.Values.x.y>: nil pointer evaluating interface {}.y | Execution
        c/templates/a.yaml:4 | no template "nope" | Missing
        c/templates/a.yaml | what it renders is not YAML: line 5: mapping values are not allowed in this context | Output
        "#);
    }

    #[test]
    fn other_failures_are_read_as_far_as_they_are_known() {
        let missing = "Error: an error occurred while checking for chart dependencies. You may need to run 'helm dependency build' to fetch missing dependencies: found in Chart.yaml, but missing in charts/ directory: prometheus, grafana";
        assert_eq!(explain(missing), Failure::Dependencies(vec!["prometheus".into(), "grafana".into()]));
        let schema = "Error: values don't meet the specifications of the schema(s) in the following chart(s):\nh:\n- at '': missing property 'zz'\n- at '/q': got number, want string\n";
        insta::assert_debug_snapshot!(explain(schema), @r#"
        Schema(
            [
                "the schema of h is not met: missing property 'zz'",
                "the schema of h is not met: value /q: got number, want string",
            ],
        )
        "#);
        let values = "Error: failed to parse ./v.yaml: cannot unmarshal yaml document: error converting YAML to JSON: yaml: line 1: did not find expected node content";
        assert_eq!(
            explain(values),
            Failure::File {
                file: "./v.yaml".into(),
                line: Some(1),
                message: "did not find expected node content".into()
            }
        );
        let version = "Error: chart requires kubeVersion: >=1.99 which is incompatible with Kubernetes v1.37.2\n\nUse --debug flag to render out invalid YAML";
        assert_eq!(
            explain(version),
            Failure::Other(
                "chart requires kubeVersion: >=1.99 which is incompatible with Kubernetes v1.37.2".into()
            )
        );
    }
}
