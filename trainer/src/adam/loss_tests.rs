use super::*;
use crate::adam::confidence::softmax;
use crate::adam::random::KeyedRandom;

fn random(shape: &[i64], seed: u64, spread: f64) -> Tensor {
    let mut random = KeyedRandom::new("loss-test", seed, &[]);
    let n: i64 = shape.iter().product();
    let values: Vec<f64> = (0..n).map(|_| random.uniform(-spread, spread)).collect();
    Tensor::from_slice(&values).view(shape)
}

/// Compares the gradient with central differences, value by value.
fn check(name: &str, input: &Tensor, loss: &dyn Fn(&Tensor) -> Tensor) {
    let leaf = input.copy().set_requires_grad(true);
    loss(&leaf).backward();
    let gradient = leaf.grad().contiguous().view(-1);
    let flat: Vec<f64> = Vec::try_from(input.contiguous().view(-1)).unwrap();
    let h = 1e-5;
    let mut largest = 0f64;
    for i in 0..flat.len() {
        let at = |x: f64| {
            let mut moved = flat.clone();
            moved[i] = x;
            let moved = Tensor::from_slice(&moved).view(input.size().as_slice());
            f64::try_from(loss(&moved)).unwrap()
        };
        let numeric = (at(flat[i] + h) - at(flat[i] - h)) / (2.0 * h);
        let exact = gradient.double_value(&[i as i64]);
        largest = largest.max(exact.abs());
        assert!((numeric - exact).abs() < 1e-6 * (1.0 + exact.abs()), "{name}[{i}]: {numeric} against {exact}");
    }
    assert!(largest > 1e-6, "{name}: the gradient is zero everywhere");
}

fn targets() -> StepTargets {
    // Two queries, six passages; the second query has three candidates, of which none is dark.
    let rows = |rows: &[[bool; 4]]| flags(&rows.iter().map(|r| r.to_vec()).collect::<Vec<_>>()).unwrap();
    StepTargets {
        candidates: Tensor::from_slice(&[0i64, 1, 2, 3, 4, 5, 1, 0]).view([2, 4]),
        present: rows(&[[true, true, true, true], [true, true, true, false]]),
        natural: rows(&[[true, true, false, false], [true, true, true, false]]),
        teacher: random(&[2, 4], 5, 3.0),
        allowed: flags(&[vec![true, true, false, false, true, true], vec![false, true, false, false, true, true]])
            .unwrap(),
        contrastive: Tensor::from_slice(&[1.0, 0.5]),
        natural_share: Tensor::from_slice(&[0.25, 1.0]),
        dark_share: Tensor::from_slice(&[0.75, 0.0]),
    }
}

#[test]
fn gradients_agree_with_finite_differences() {
    let present = flags(&[vec![true, true, true, false], vec![true, true, true, true]]).unwrap();
    let teacher = random(&[2, 4], 1, 4.0);
    let student = random(&[2, 4], 2, 2.0);
    check("listwise", &student, &|x| listwise(x, &present).unwrap().sum(Kind::Double));
    check("divergence", &student, &|x| divergence(x, &teacher, &present, 1.7, 0.6).unwrap().sum(Kind::Double));
    check("margin-mse", &student, &|x| margin_mse(x, &teacher, &present, 2.0).unwrap().sum(Kind::Double));
    let positive = Tensor::from_slice(&[0i64, 2]);
    check("contrastive", &student, &|x| contrastive(x, &present, &positive).unwrap().sum(Kind::Double));
    for kind in [Distillation::Kl, Distillation::MarginMse] {
        let config = LossConfig {
            kind,
            contrastive: 0.7,
            distillation: 1.3,
            student_temperature: 2.0,
            teacher_temperature: 1.5,
            scale: 3.0,
            in_batch: true,
            list: ListScope::Own,
        };
        check("step", &random(&[2, 6], 3, 0.9), &|x| step_loss(x, &targets(), &config).unwrap().total);
        // Through the score matrix down to the vectors.
        let passages = random(&[6, 5], 4, 0.5);
        check("vectors", &random(&[2, 5], 6, 0.5), &|q| {
            step_loss(&q.matmul(&passages.transpose(0, 1)), &targets(), &config).unwrap().total
        });
    }
}

#[test]
fn the_divergence_is_the_one_of_the_definition_and_zero_for_equals() {
    let (student, teacher) = ([0.3f32, -1.0, 2.0], [1.0f32, 0.5, -0.7]);
    let (p, q) = (softmax(&teacher, 1.5), softmax(&student, 0.8));
    let expected: f64 = 0.8 * 0.8 * p.iter().zip(&q).map(|(p, q)| p * (p.ln() - q.ln())).sum::<f64>();
    let row = |values: &[f32], absent: f64| {
        let mut all: Vec<f64> = values.iter().map(|&v| f64::from(v)).collect();
        all.push(absent);
        Tensor::from_slice(&all).view([1, 4])
    };
    let present = flags(&[vec![true, true, true, false]]).unwrap();
    let found = divergence(&row(&student, 55.0), &row(&teacher, -3.0), &present, 0.8, 1.5).unwrap();
    assert!((found.sum(Kind::Double).double_value(&[]) - expected).abs() < 1e-6);
    let same = divergence(&row(&teacher, 0.0), &row(&teacher, 9.0), &present, 1.0, 1.0).unwrap();
    assert!(same.abs().sum(Kind::Double).double_value(&[]) < 1e-12);
}

#[test]
fn a_passage_that_is_not_allowed_changes_nothing() {
    let config = LossConfig { distillation: 0.0, ..LossConfig::default() };
    let scores = random(&[2, 6], 7, 0.9);
    let before = step_loss(&scores, &targets(), &config).unwrap().total.double_value(&[]);
    // Column 2 is dark for the first query, column 0 a known positive for the second.
    let _ = scores.get(0).get(2).fill_(100.0);
    let _ = scores.get(1).get(0).fill_(100.0);
    let after = step_loss(&scores, &targets(), &config).unwrap().total.double_value(&[]);
    assert!((before - after).abs() < 1e-12);
}

#[test]
fn gradients_through_pooling_and_normalisation_agree_with_finite_differences() {
    use crate::model::{Pooling, normalise};
    // Three queries and four passages of four tokens, some of them padding; all in f64.
    let mask = flags(&[
        vec![true, true, true, false],
        vec![true, false, false, false],
        vec![true, true, true, true],
        vec![true, true, false, false],
    ])
    .unwrap();
    let passages = random(&[4, 4, 3], 21, 1.0);
    let queries = random(&[4, 4, 3], 22, 1.0);
    let allowed = flags(&[
        vec![true, true, false, true],
        vec![true, true, true, true],
        vec![false, true, true, true],
        vec![true, true, true, true],
    ])
    .unwrap();
    let positive = Tensor::from_slice(&[0i64, 1, 2, 3]);
    for pooling in [Pooling::Mean, Pooling::Cls] {
        let rows = |tokens: &Tensor| normalise(&pooling.pool(tokens, Some(&mask)).unwrap()).unwrap();
        // Warm-up: InfoNCE over scaled cosines, by the queries' and by the passages' token vectors.
        let info_nce = |q: &Tensor, p: &Tensor| {
            let scores = rows(q).matmul(&rows(p).transpose(0, 1)) * 5.0;
            contrastive(&scores, &allowed, &positive).unwrap().mean(Kind::Double)
        };
        check("warm-up by queries", &queries, &|q| info_nce(q, &passages));
        check("warm-up by passages", &passages, &|p| info_nce(&queries, p));
        // The teacher: a linear head on pooled vectors, listwise over two lists of two.
        let head = random(&[1, 3], 23, 1.0);
        let present = flags(&[vec![true, true], vec![true, true]]).unwrap();
        check("teacher", &passages, &|tokens| {
            let pooled = pooling.pool(tokens, Some(&mask)).unwrap();
            let logits = pooled.linear(&head, None::<&Tensor>).view([2, 2]);
            listwise(&logits, &present).unwrap().mean(Kind::Double)
        });
    }
}

#[test]
fn temperatures_scale_as_the_definition_says() {
    // With both temperatures high, T_s squared times the divergence of softened scores stays of the order of the scores: its
    // gradient at T is about that of half the mean squared difference of centred scores over the number of candidates.
    let present = flags(&[vec![true; 4]]).unwrap();
    let (student, teacher) = (random(&[1, 4], 31, 1.0), random(&[1, 4], 32, 1.0));
    let hot = divergence(&student, &teacher, &present, 1e4, 1e4).unwrap().sum(Kind::Double).double_value(&[]);
    let centred = |x: &Tensor| x - x.mean(Kind::Double);
    let gap = (centred(&student) - centred(&teacher)).square().sum(Kind::Double).double_value(&[]);
    assert!((hot - gap / 8.0).abs() < 1e-3 * gap, "{hot} against {}", gap / 8.0);
}
