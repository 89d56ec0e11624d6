//! The table that a bench prints.

/// A bound on a measured figure.
#[derive(Debug, Clone, Copy)]
pub enum Goal {
    /// At most this.
    AtMost(f64),
    /// At least this.
    AtLeast(f64),
    /// Only for information.
    None,
}

/// Rows of figures.
#[derive(Debug, Default)]
pub struct Report {
    rows: Vec<[String; 4]>,
}

impl Report {
    /// Adds a figure with its unit, and the goal for it.
    pub fn row(&mut self, what: impl Into<String>, figure: f64, unit: &str, goal: Goal) {
        let number = |n: f64| match n {
            n if n >= 100.0 => format!("{n:.0}{unit}"),
            n if n >= 10.0 => format!("{n:.1}{unit}"),
            n => format!("{n:.2}{unit}"),
        };
        let (bound, verdict) = match goal {
            Goal::AtMost(most) => (format!("<= {}", number(most)), if figure <= most { "yes" } else { "NO" }),
            Goal::AtLeast(least) => {
                (format!(">= {}", number(least)), if figure >= least { "yes" } else { "NO" })
            }
            Goal::None => (String::new(), ""),
        };
        self.rows.push([what.into(), number(figure), bound, verdict.into()]);
    }

    /// Adds a line for what could not be measured here.
    pub fn missing(&mut self, what: impl Into<String>, why: &str) {
        self.rows.push([what.into(), "-".into(), why.into(), String::new()]);
    }

    /// Prints the table.
    pub fn print(&self, title: &str) {
        println!("\n{title}\n");
        println!("{:58} {:>12}  {:12} met", "", "measured", "goal");
        for [what, figure, bound, verdict] in &self.rows {
            println!("{what:58} {figure:>12}  {bound:12} {verdict}");
        }
        println!();
    }
}
