package main

import (
	"fmt"
	"io"
	"strings"
	"time"
)

// barFrom is the number of messages from which a bar is worth looking at, and
// barTime how often it is drawn.
const (
	barFrom = 1000
	barTime = 100 * time.Millisecond
)

// bar shows how far something is. The zero value shows nothing.
type bar struct {
	w           io.Writer // nil shows nothing
	what        string
	done, total int
	drawn       time.Time
}

// start begins anew, if it is worth it.
func (b *bar) start(w io.Writer, what string, total int) {
	*b = bar{}
	if total > barFrom && isTerminal(w) {
		*b = bar{w: w, what: what, total: total}
	}
}

// step counts one more.
func (b *bar) step() {
	if b.done++; b.w == nil || time.Since(b.drawn) < barTime {
		return
	}
	b.drawn = time.Now()
	const width = 40
	full := width * min(b.done, b.total) / b.total // there may be more than at the start
	fmt.Fprintf(b.w, "\r%s [%s%s] %d/%d ", b.what, strings.Repeat("#", full), strings.Repeat(".", width-full), b.done, b.total)
}

// clear takes it off the terminal.
func (b *bar) clear() {
	if b.w != nil && !b.drawn.IsZero() {
		fmt.Fprint(b.w, "\r\x1b[K")
		b.drawn = time.Time{}
	}
}
