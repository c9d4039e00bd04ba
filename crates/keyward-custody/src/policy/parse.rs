//! The policy text: words, numbers, commas and parentheses, read by descent with a bounded depth.

use std::iter::Peekable;
use std::vec::IntoIter;

use super::{Node, PolicyError};
use crate::{Error, Name};

/// Parentheses that may be open at once while reading; the tree's own limit is lower.
const MAX_OPEN: usize = 32;

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    Word(String),
    Open,
    Close,
    Comma,
    End,
}

/// A token and the character, counted from 1, at which it begins.
type Placed = (Token, usize);

pub(super) fn parse(text: &str) -> Result<Node, PolicyError> {
    let mut parser =
        Parser { tokens: tokens(text).into_iter().peekable(), end: text.chars().count() + 1, open: 0 };
    let node = parser.expression()?;
    match parser.next() {
        (Token::End, _) => Ok(node),
        other => Err(expected("`or`, `and` or the end", other)),
    }
}

fn tokens(text: &str) -> Vec<Placed> {
    let mut tokens: Vec<Placed> = Vec::new();
    // Whether the character before belongs to a word, which this one may continue.
    let mut in_word = false;
    for (index, character) in text.chars().enumerate() {
        let token = match character {
            '(' => Token::Open,
            ')' => Token::Close,
            ',' => Token::Comma,
            space if space.is_ascii_whitespace() => {
                in_word = false;
                continue;
            }
            letter => {
                match tokens.last_mut() {
                    Some((Token::Word(word), _)) if in_word => word.push(letter),
                    _ => tokens.push((Token::Word(letter.to_string()), index + 1)),
                }
                in_word = true;
                continue;
            }
        };
        in_word = false;
        tokens.push((token, index + 1));
    }
    tokens
}

struct Parser {
    tokens: Peekable<IntoIter<Placed>>,
    end: usize,
    open: usize,
}

impl Parser {
    fn next(&mut self) -> Placed {
        self.tokens.next().unwrap_or((Token::End, self.end))
    }

    fn peek_word(&mut self) -> Option<&str> {
        match self.tokens.peek() {
            Some((Token::Word(word), _)) => Some(word),
            _ => None,
        }
    }

    /// `item or item …`, `item and item …`, or one item.
    fn expression(&mut self) -> Result<Node, PolicyError> {
        let mut parts = vec![self.item()?];
        let mut joined_by: Option<String> = None;
        while let Some(word @ ("or" | "and")) = self.peek_word() {
            let word = word.to_owned();
            let (_, position) = self.next();
            if joined_by.as_ref().is_some_and(|first| *first != word) {
                return Err(PolicyError::Mixed { position });
            }
            joined_by = Some(word);
            parts.push(self.item()?);
        }
        let needed = if joined_by.as_deref() == Some("or") { 1 } else { parts.len() };
        Node::threshold(needed, parts)
    }

    /// A name, `k of (…)`, or an expression in parentheses.
    fn item(&mut self) -> Result<Node, PolicyError> {
        match self.next() {
            (Token::Open, _) => {
                self.enter()?;
                let inner = self.expression()?;
                self.leave("`)`, `or` or `and`")?;
                Ok(inner)
            }
            (Token::Word(word), position) if word.starts_with(|first: char| first.is_ascii_digit()) => {
                self.threshold(&word, position)
            }
            (Token::Word(word), _) => match word.parse::<Name>() {
                Ok(name) => Ok(Node::Holder(name)),
                Err(Error::Name { name, reason }) => {
                    Err(PolicyError::Name { name, reason: reason.to_owned() })
                }
                Err(other) => Err(PolicyError::Name { name: word, reason: other.to_string() }),
            },
            other => Err(expected("a name, a number or `(`", other)),
        }
    }

    /// The rest of `k of (part, part …)`.
    fn threshold(&mut self, number: &str, position: usize) -> Result<Node, PolicyError> {
        let Some(needed) = canonical_number(number) else {
            return Err(expected("a number from 1 to 255", (Token::Word(number.to_owned()), position)));
        };
        match self.next() {
            (Token::Word(word), _) if word == "of" => {}
            other => return Err(expected("`of`", other)),
        }
        match self.next() {
            (Token::Open, _) => self.enter()?,
            other => return Err(expected("`(`", other)),
        }
        let mut parts = vec![self.expression()?];
        while matches!(self.tokens.peek(), Some((Token::Comma, _))) {
            self.next();
            parts.push(self.expression()?);
        }
        self.leave("`,`, `)`, `or` or `and`")?;
        Node::threshold(needed, parts)
    }

    fn enter(&mut self) -> Result<(), PolicyError> {
        self.open += 1;
        if self.open > MAX_OPEN {
            return Err(PolicyError::TooLarge { what: "open parentheses", max: MAX_OPEN as u64 });
        }
        Ok(())
    }

    fn leave(&mut self, could_stand: &'static str) -> Result<(), PolicyError> {
        self.open -= 1;
        match self.next() {
            (Token::Close, _) => Ok(()),
            other => Err(expected(could_stand, other)),
        }
    }
}

/// 1 to 255 without leading zeros: a share's number is one byte.
fn canonical_number(text: &str) -> Option<usize> {
    let number: u8 = text.parse().ok()?;
    (number.to_string() == text && number > 0).then_some(usize::from(number))
}

fn expected(expected: &'static str, (token, position): Placed) -> PolicyError {
    let found = match token {
        Token::Word(word) => format!("`{}`", word.chars().take(40).collect::<String>().escape_debug()),
        Token::Open => "`(`".to_owned(),
        Token::Close => "`)`".to_owned(),
        Token::Comma => "`,`".to_owned(),
        Token::End => "the end".to_owned(),
    };
    PolicyError::Expected { expected, found, position }
}
