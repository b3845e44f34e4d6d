//! Frames that are written together.

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::{Buf, Bytes, BytesMut};

use crate::spdy::frame::{Frame, data_header};

/// Fewer bytes are copied behind those before them.
const COPIED: usize = 1024;

/// Frames, in order. Data are not copied if they are worth a slice of their own, and if slices can be written at once.
#[derive(Debug)]
pub(super) struct Batch {
    slices: VecDeque<Bytes>,
    /// What is not in a slice yet: the end of the batch.
    tail: BytesMut,
    remaining: usize,
    vectored: bool,
}

impl Batch {
    pub(super) fn new(vectored: bool) -> Self {
        Self { slices: VecDeque::new(), tail: BytesMut::new(), remaining: 0, vectored }
    }

    pub(super) fn frame(&mut self, frame: &Frame) {
        let before = self.tail.len();
        frame.encode(&mut self.tail);
        self.remaining += self.tail.len().saturating_sub(before);
    }

    pub(super) fn data(&mut self, stream: u32, bytes: Bytes) {
        if !self.vectored || bytes.len() < COPIED {
            return self.frame(&Frame::Data { stream, bytes, fin: false });
        }
        let before = self.tail.len();
        data_header(stream, bytes.len(), false, &mut self.tail);
        self.remaining += self.tail.len().saturating_sub(before) + bytes.len();
        self.slices.push_back(self.tail.split().freeze());
        self.slices.push_back(bytes);
    }
}

impl Buf for Batch {
    fn remaining(&self) -> usize {
        self.remaining
    }

    fn chunk(&self) -> &[u8] {
        self.slices.front().map_or(&self.tail, |first| first)
    }

    fn chunks_vectored<'a>(&'a self, into: &mut [IoSlice<'a>]) -> usize {
        let tail = Some(&self.tail[..]).filter(|tail| !tail.is_empty());
        let slices = self.slices.iter().map(|slice| &slice[..]).chain(tail);
        into.iter_mut().zip(slices).map(|(place, slice)| *place = IoSlice::new(slice)).count()
    }

    fn advance(&mut self, mut count: usize) {
        self.remaining = self.remaining.saturating_sub(count);
        while let Some(first) = self.slices.front_mut() {
            if count < first.len() {
                return first.advance(count);
            }
            count = count.saturating_sub(first.len());
            self.slices.pop_front();
        }
        self.tail.advance(count);
    }
}
