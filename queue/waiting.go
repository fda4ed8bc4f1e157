package queue

import (
	"container/heap"
	"time"
)

// entry is what is known in memory of each message, and all that is known of
// one that waits. There may be a million.
type entry struct {
	id    string
	due   time.Duration // by Manager.now
	index int32         // in the heap of those that wait; -1 when it is not there
	// panics counts the agents and routers that fell over this message.
	panics uint8
	run    *run         // when it is active or cannot be recorded; nil otherwise
	site   *destination // whose recovery wakes it; nil means none
}

// waitingHeap has the entry on top that is due first.
type waitingHeap []*entry

func (h waitingHeap) Len() int           { return len(h) }
func (h waitingHeap) Less(i, j int) bool { return h[i].due < h[j].due }

func (h waitingHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = int32(i), int32(j)
}

// Push is for container/heap.
func (h *waitingHeap) Push(x any) {
	e := x.(*entry)
	e.index = int32(len(*h))
	*h = append(*h, e)
}

// Pop is for container/heap.
func (h *waitingHeap) Pop() any {
	old := *h
	e := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	e.index = -1
	return e
}

// wait puts e among those that wait, or moves it there.
func (h *waitingHeap) wait(e *entry, due time.Duration) {
	e.due = due
	if e.index >= 0 {
		heap.Fix(h, int(e.index))
		return
	}
	heap.Push(h, e)
}

// due reports whether an entry's time has come.
func (h waitingHeap) due(now time.Duration) bool { return len(h) > 0 && h[0].due <= now }

// pop takes the entry that is due first.
func (h *waitingHeap) pop() *entry { return heap.Pop(h).(*entry) }

// take removes e from those that wait.
func (h *waitingHeap) take(e *entry) {
	if e.index >= 0 {
		heap.Remove(h, int(e.index))
	}
}

// fifo is a line of things, first in, first out.
type fifo[T any] struct {
	items []T
	head  int
}

func (f *fifo[T]) len() int { return len(f.items) - f.head }

func (f *fifo[T]) first() T { return f.items[f.head] }

func (f *fifo[T]) push(x T) {
	if f.head > 32 && f.head > len(f.items)/2 {
		n := copy(f.items, f.items[f.head:])
		clear(f.items[n:])
		f.items, f.head = f.items[:n], 0
	}
	f.items = append(f.items, x)
}

func (f *fifo[T]) pop() T {
	var none T
	x := f.items[f.head]
	f.items[f.head] = none
	f.head++
	if f.head == len(f.items) {
		f.items, f.head = f.items[:0], 0
	}
	return x
}
