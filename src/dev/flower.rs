//! A flower's measurements, as people type them.

use std::{fmt, str::FromStr};

/// Sepal length, sepal width, petal length and petal width, in centimetres.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Flower(pub [f32; 4]);

/// The largest measurement that is taken for one of a flower, in centimetres.
const LARGEST_CM: f32 = 100.0;

/// The classes of the model, in the order of its output.
pub const CLASSES: [&str; 3] = ["setosa", "versicolor", "virginica"];

impl FromStr for Flower {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parts: Vec<_> = text.split(',').collect();
        let parts: [&str; 4] = parts.try_into().map_err(|parts: Vec<_>| {
            format!(
                "a flower is four numbers (sepal length, sepal width, petal length, petal width, \
                 in cm) joined by commas, such as 5.1,3.5,1.4,0.2; `{text}` has {}",
                parts.len()
            )
        })?;
        let mut measures = [0.0_f32; 4];
        for (measure, part) in measures.iter_mut().zip(parts) {
            *measure = part
                .trim()
                .parse()
                .map_err(|_| format!("`{part}` is no number; write one such as 5.1"))?;
            if !(measure.is_finite() && (0.0..=LARGEST_CM).contains(measure)) {
                return Err(format!(
                    "`{part}` is no measurement between 0 and {LARGEST_CM} cm"
                ));
            }
        }
        Ok(Self(measures))
    }
}

impl fmt::Display for Flower {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [sepal_length, sepal_width, petal_length, petal_width] = self.0;
        write!(
            f,
            "{sepal_length},{sepal_width},{petal_length},{petal_width}"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn four_numbers_are_a_flower_and_nothing_else_is() {
        assert_eq!("5.1, 3.5,1.4,0.2".parse(), Ok(Flower([5.1, 3.5, 1.4, 0.2])));
        for wrong in [
            "",
            "1,2,3",
            "1,2,3,4,5",
            "1,2,3,x",
            "1,2,3,-4",
            "1,2,3,NaN",
            "1,2,3,1e9",
        ] {
            assert!(wrong.parse::<Flower>().is_err(), "{wrong}");
        }
    }
}
