//! What the user sees and can do in a browser.

pub mod pages;
