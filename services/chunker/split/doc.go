// Package split cuts Markdown into chunks that fit an embedding model.
//
// What every strategy promises, for any input, valid UTF-8 or not:
//
//   - No chunk has more than Options.MaxTokens tokens, overlap included, and
//     Chunk.Tokens is exactly what the encoding counts for the chunk's text.
//   - Chunks are slices of the text: joining md[Start+Overlap:End] of all of
//     them gives the text back, byte for byte. The one exception is white space:
//     no chunk is white space only, so a run of white space that takes more than
//     a third of MaxTokens by itself may be left out in part, and a document that
//     is nothing but white space has no chunks.
//   - No cut is inside a rune.
//   - Headings and headers are valid UTF-8: what is not is U+FFFD in them.
//   - The same text and options give the same chunks.
//   - Time grows linearly with the text, whatever is in it; memory is that of the
//     text, its chunks, and one window of work.
//
// # How the markdown strategy cuts
//
// One pass over the lines finds the blocks: headings, paragraphs, list items,
// tables, code, quotes, HTML, front matter. (It is not a full Markdown parser:
// nesting does not change where a text can be cut, and a parser that builds the
// nesting takes quadratic time on deep quotes and lists.) Every block boundary
// is a possible cut with a cost: little before a heading of the first level,
// more between paragraphs, more still between list items. A heading is never
// cut from what follows it. Inside a block cuts are only considered where they
// may be needed: between sentences in long paragraphs, between rows or lines in
// tables or code that do not fit in a chunk whole; between words and then runes
// where there is nothing better.
//
// Then dynamic programming finds the cheapest way through the cuts, as TeX does
// for the lines of a paragraph: each chunk costs one, so that chunks are full,
// plus what its cut costs, plus a fine if its text leaves the section it started
// in. Full chunks and whole sections are weighed against each other for the
// document, not chunk by chunk.
//
// A table that has to be cut is cut between rows, inside a row only if the row
// alone is more than MaxTokens. Since chunks are exact slices, the header row is
// not repeated in the text of the chunks that continue the table: it travels
// beside it, as Chunk.Header, and takes its part of MaxTokens.
//
// # Counting
//
// The text is tokenised once, window by window: all of a short text, half a
// megabyte or many chunks of a long one. Of each window but the last the final
// chunks are not taken; the next window begins there, so that no cut depends on
// where a window ends. Blocks are found some way past the window: what a block is
// and what a heading says do not depend on it either.
//
// Before every line that does not begin with a line break, token counts add up:
// both encodings end a piece after the last line break of white space, and look no
// further. So the size of a chunk between such lines is a subtraction. The few
// chunks that begin or end elsewhere are counted again.
package split
