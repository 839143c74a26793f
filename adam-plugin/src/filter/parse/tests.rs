use super::*;
use proptest::prelude::*;

/// The tree in a notation of its own: `field=value`, `field[from;to]`, `field?`, with other readings after `/`.
fn tree(expression: &Expression) -> String {
    let list = |items: &[Expression]| items.iter().map(tree).collect::<Vec<_>>().join(" ");
    match expression {
        Expression::And(items) => format!("and({})", list(items)),
        Expression::Or(items) => format!("or({})", list(items)),
        Expression::Not(inner) => format!("not({})", tree(inner)),
        Expression::Condition(condition) => condition.readings().map(reading).collect::<Vec<_>>().join("/"),
    }
}

fn reading(condition: &Condition) -> String {
    let parts = &condition.path.parts;
    let name = parts
        .iter()
        .map(|part| if part.is_quoted { format!("'{}'", part.text) } else { part.text.clone() })
        .collect::<Vec<_>>()
        .join(".");
    let end = |end: &Bound<String>| match end {
        Bound::Unbounded => String::new(),
        Bound::Included(text) => text.clone(),
        Bound::Excluded(text) => format!("!{text}"),
    };
    match &condition.comparison {
        Comparison::Equal(value) => format!("{name}={value}"),
        Comparison::Exists => format!("{name}?"),
        Comparison::Range { from, to } => format!("{name}[{};{}]", end(from), end(to)),
    }
}

#[test]
fn what_was_always_a_filter_is_the_same_filter() {
    for (filter, expected) in [
        ("lang:en", "lang=en"),
        (" lang : en ", "lang=en"),
        ("id:a b", "id=a b"),
        ("title:to be or not to be", "title=to be or not to be"),
        ("brand:O'Neill", "brand=O'Neill"),
        ("brand:R&D", "brand=R&D"),
        ("off:50%", "off=50%"),
        ("category:/a/b c", "category=/a/b c"),
        ("Brand Name:x", "Brand Name=x"),
        ("metadata.deep.er:true", "metadata.deep.er=true"),
        ("note:Foo (bar)", "note=Foo (bar)"),
        ("note:(c) Acme", "note=(c) Acme"),
        ("note:a) b", "note=a) b"),
        ("size:5\" pipe", "size=5\" pipe"),
        ("brand:acme, norse", "brand=acme, norse"),
        ("year:2019..2021", "year[2019;2021]"),
        ("year: 2020 .. ", "year[2020;]"),
        ("temp:-5..5", "temp[-5;5]"),
        ("temp:-5", "temp=-5"),
        ("state:OR", "state=OR"),
        ("word:NOT", "word=NOT"),
        ("état:à côté", "état=à côté"),
        ("url:http://a/b", "url=http://a/b/url:http=//a/b"),
        ("a:b:c", "a=b:c/a:b=c"),
        ("ip:2001:db8::1", "ip=2001:db8::1/ip:2001=db8::1/ip:2001:db8=:1/ip:2001:db8:=1"),
        ("at:2024-05-31T10:00", "at=2024-05-31T10:00/at:2024-05-31T10=00"),
        ("at:2024-05-31 10:00", "at=2024-05-31 10:00"),
    ] {
        assert_eq!(parse(filter).map(|expression| tree(&expression)).as_deref(), Ok(expected), "{filter}");
    }
}

#[test]
fn filters_join_compare_and_quote() {
    for (filter, expected) in [
        ("year >= 2019", "year[2019;]"),
        ("price<50", "price[;!50]"),
        ("price:>50", "price[!50;]"),
        ("price: <= 50", "price[;50]"),
        ("note:\"a <b>\"", "note=a <b>"),
        ("a:x OR b:y", "or(a=x b=y)"),
        ("a:x AND b:y OR c:z", "or(and(a=x b=y) c=z)"),
        ("a:x AND (b:y OR c:z)", "and(a=x or(b=y c=z))"),
        ("a:x y AND b:y", "and(a=x y b=y)"),
        ("NOT tag:old", "not(tag=old)"),
        ("-tag:old", "not(tag=old)"),
        ("NOT -tag:old", "not(not(tag=old))"),
        ("a:x AND NOT b:y", "and(a=x not(b=y))"),
        ("NOT a:x AND b:y", "and(not(a=x) b=y)"),
        ("NOT (a:x AND b:y)", "not(and(a=x b=y))"),
        ("-(a:x)", "not(a=x)"),
        ("a:x AND a:x", "a=x"),
        ("a:x or b:y", "a=x or b:y"),
        ("state:OR OR state:WA", "or(state=OR state=WA)"),
        ("brand:(acme, norse)", "or(brand=acme brand=norse)"),
        ("brand:(acme OR norse)", "or(brand=acme brand=norse)"),
        ("brand:(acme, acme)", "brand=acme"),
        ("-brand:(\"a, b\", c (d))", "not(or(brand=a, b brand=c (d)))"),
        ("year:(2015, 2017..2018, >2020)", "or(year=2015 year[2017;2018] year[!2020;])"),
        ("(brand:(a, b) AND c:d)", "and(or(brand=a brand=b) c=d)"),
        ("note:\"this OR that\"", "note=this OR that"),
        (r#"note:"a \"b\" \\ \c""#, r#"note=a "b" \ \c"#),
        ("note:\"..\"", "note=.."),
        ("note:\"\"", "note="),
        ("\"og:title\":x", "'og:title'=x"),
        ("\"dc.title\":x", "'dc.title'=x"),
        (r"dc\.title:x", "'dc.title'=x"),
        ("meta.\"a.b\".c:x", "meta.'a.b'.c=x"),
        ("\"og\":title:x", "'og'=title:x"),
        ("og:title:\"x\"", "og=title:\"x\"/og:title=x"),
        ("og:price:>5", "og=price:>5/og:price[!5;]"),
        ("brand:*", "brand?"),
        ("brand:\"*\"", "brand=*"),
        ("a:x\nAND\tb:y", "and(a=x b=y)"),
    ] {
        assert_eq!(parse(filter).map(|expression| tree(&expression)).as_deref(), Ok(expected), "{filter}");
    }
}

#[test]
fn faults_say_where_and_what() {
    for (filter, at, said) in [
        ("", 0, "FIELD:VALUE"),
        ("year", 4, "FIELD:VALUE"),
        ("year:", 5, "expected a value"),
        (":5", 0, "FIELD:VALUE"),
        (" : ", 1, "FIELD:VALUE"),
        ("year=2019", 9, "with a colon"),
        ("a:x OR", 6, "FIELD:VALUE"),
        ("a:x OR y", 8, "brackets"),
        ("a:x AND AND b:y", 8, "not AND"),
        ("OR a:x", 0, "not OR"),
        ("(a:x", 4, "`)`"),
        ("a:\"x", 2, "second quote"),
        ("a:\"x\" y", 6, "expected AND, OR or the end"),
        ("a:x NOT b:y", 4, "before NOT"),
        ("price>", 6, "after `>`"),
        ("brand:(a,)", 9, "value in the list"),
        ("brand:()", 7, "value in the list"),
        ("brand:(\"a\" b)", 11, "comma"),
        ("brand:(NOT a)", 7, "not NOT"),
    ] {
        let fault = parse(filter).unwrap_err();
        assert!(fault.problem.contains(said), "{filter}: {fault:?}");
        assert_eq!(fault.at, at, "{filter}: {fault:?}");
    }
    let deep = |depth: usize| format!("{}a:x{}", "(".repeat(depth), ")".repeat(depth));
    assert!(parse(&deep(60)).is_ok());
    assert!(parse(&deep(30_000)).unwrap_err().problem.contains("64 brackets"));
    assert!(parse(&"-".repeat(30_000)).is_err() && parse(&format!("{}a:x", "NOT ".repeat(16_000))).is_err());
    assert!(parse(&"a:x OR ".repeat(9_000)).unwrap_err().problem.contains("conditions"));
    assert!(parse(&format!("a:({})", "x,".repeat(9_000))).is_err());
    assert!(parse(&format!("a:{}", "x".repeat(MAX_BYTES))).unwrap_err().problem.contains("65536 bytes"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]
    #[test]
    fn any_text_is_read_or_refused_with_a_place(
        text in r#"(a|b\.c|"x y"|:|:|>=|<|\(|\)|,| AND | OR |NOT |-| |\.\.|\*|é|\\|"|5|2024-05){0,14}"#
    ) {
        match parse(&text) {
            Ok(_) => {}
            Err(fault) => prop_assert!(text.is_char_boundary(fault.at), "{fault:?}"),
        }
    }

    #[test]
    fn a_filter_written_out_is_the_same_filter(
        text in r#"(NOT |-)?[ab]\.?"?c"?:(x|"y, z"|5\.\.7|>=2|\*|\(a, "b OR c"\))( (AND|OR) (NOT )?d:(e f|\(g, h\)))?"#
    ) {
        if let Ok(expression) = parse(&text) {
            let written = expression.to_string();
            let again = parse(&written).map(|again| again.to_string());
            prop_assert_eq!(again, Ok(written));
        }
    }
}
