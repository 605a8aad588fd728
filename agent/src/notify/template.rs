//! Templates of notifications, in the language of Jinja.
//!
//! They come from the agent's file alone. A name that does not exist is a mistake, and a loop ends: both are found when
//! the file is read, by rendering an example.

use minijinja::value::Serde;
use minijinja::{Environment, ErrorKind, UndefinedBehavior};

use super::message::{Message, example};

/// Steps that one rendering may take.
const FUEL: u64 = 100_000;

/// A template that has been tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template(String);

/// What is wrong with a template.
#[derive(Debug, thiserror::Error)]
#[error("the template cannot be used{}: {}", line(.0), what(.0))]
pub struct TemplateError(minijinja::Error);

impl Template {
    /// Checks a template: its grammar, and the names that it uses for an example.
    pub fn parse(source: &str) -> Result<Self, TemplateError> {
        let template = Self(source.to_owned());
        template.render(example().model())?;
        Ok(template)
    }

    /// Returns the text for a message whose model may have been made fit for where the text goes.
    pub fn render(&self, model: serde_json::Value) -> Result<String, TemplateError> {
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        environment.set_fuel(Some(FUEL));
        environment.render_str(&self.0, Serde(model)).map_err(TemplateError)
    }
}

/// Returns the text of a message: what the template makes of it, else the app, the cluster and what happened.
pub(super) fn text(template: Option<&Template>, message: &Message) -> Result<String, TemplateError> {
    let model = message.model();
    template.map_or_else(|| Ok(plain(message)), |template| template.render(model))
}

/// The text for who has no template.
pub(super) fn plain(message: &Message) -> String {
    let Message { app, agent, text, .. } = message;
    format!("{} on {}: {text}", app.name, agent.cluster)
}

fn line(error: &minijinja::Error) -> String {
    error.line().map_or_else(String::new, |line| format!(", line {line} of it"))
}

fn what(error: &minijinja::Error) -> String {
    match (error.kind(), error.detail()) {
        (ErrorKind::UndefinedError, None) => "it uses a name that there is not".to_owned(),
        (ErrorKind::OutOfFuel, _) => "it takes too many steps".to_owned(),
        (kind, None) => kind.to_string(),
        (_, Some(detail)) => detail.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_sees_the_message() {
        let template = "{% if severity == 'warning' %}!{% endif %} {{ app.name }} of {{ app.environment }} at \
                        {{ revision.commit[5:12] }} by {{ revision.author }}: {{ reason }} ({{ trigger }}) \
                        {{ {'text': text} | tojson }} {{ agent.cluster | upper }}";
        let text = Template::parse(template).unwrap().render(example().model()).unwrap();
        insta::assert_snapshot!(text, @r#"! web of production at 4f2c9a7 by Ada <ada@example>: Degraded (on-health-degraded) {"text": "Deployment/shop/web: 1 of 3 pods are ready"} EU-1"#);
    }

    #[test]
    fn mistakes_are_found_when_the_file_is_read() {
        let told = |template: &str| Template::parse(template).unwrap_err().to_string();
        insta::assert_snapshot!(told("a\n{{ app.nam }}"), @"the template cannot be used, line 2 of it: it uses a name that there is not");
        assert!(told("{{ text").contains("line 1"));
        insta::assert_snapshot!(told("{% for a in range(9000) %}{% for b in range(9000) %}{% endfor %}{% endfor %}"), @"the template cannot be used, line 1 of it: it takes too many steps");
    }
}
