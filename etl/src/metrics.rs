//! Log lines from which CloudWatch extracts metrics:
//! <https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html>.

use std::io::Write;
use std::time::SystemTime;

use serde_json::json;

/// A counted event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Metric {
    /// A dataset was published.
    Published,
    /// A dataset or a message can never be loaded as it is.
    Failed,
    /// A delivery was ignored, because its files replace those of an earlier one.
    Ignored,
}

impl Metric {
    fn name(self) -> &'static str {
        match self {
            Self::Published => "loads_published",
            Self::Failed => "loads_failed",
            Self::Ignored => "deliveries_ignored",
        }
    }
}

impl Metric {
    /// Writes the line that counts one event of the named function. Ignores a failed write.
    pub fn write(self, mut output: impl Write, function: &str) {
        let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let line = json!({
            "_aws": {
                "Timestamp": u64::try_from(since_1970.as_millis()).unwrap_or_default(),
                "CloudWatchMetrics": [{
                    "Namespace": "Atelier",
                    "Dimensions": [["function"]],
                    "Metrics": [{ "Name": self.name(), "Unit": "Count" }],
                }],
            },
            "function": function,
            self.name(): 1,
        });
        let _ = output.write_all(format!("{line}\n").as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_declares_its_metric() {
        let mut line = Vec::new();
        Metric::Failed.write(&mut line, "etl");
        let line: serde_json::Value = serde_json::from_slice(&line).unwrap();
        let declared = &line["_aws"]["CloudWatchMetrics"][0]["Metrics"][0]["Name"];
        assert_eq!(declared, "loads_failed");
        assert_eq!((&line["loads_failed"], &line["function"]), (&json!(1), &json!("etl")));
    }
}
