package queue

// Preemption. Postfix's queue manager has a message take over the places of a
// bigger one when that has used enough of them. Here messages are of classes by
// their size, and a smaller class goes first, but passes each bigger one over
// no more than passLimit times in a row. So a small message gets one of the next
// places whatever stands in line, and a list goes on, at the worst with one
// place in six while smaller mail takes the rest.

// classes is how many there are; 0 has the smallest messages.
const classes = 3

// classSize is what the size of a message grows by from class to class. With 15
// deliveries a message is worth preempting: Postfix's
// default_minimum_delivery_slots times default_delivery_slot_cost.
const classSize = 15

// passLimit is how often a class is passed over in a row: each place it is
// given pays for that many others, as with Postfix's default_delivery_slot_cost
// of 5.
const passLimit = 4

// classOf returns the class of a message that takes n deliveries of a transport.
func classOf(n int) int {
	class := 0
	for n >= classSize && class < classes-1 {
		n /= classSize
		class++
	}
	return class
}

// turns counts how often each class was passed over since it had its turn.
type turns [classes]byte

// order returns the classes as they come next: first the biggest of those that
// were passed over often enough.
func (t *turns) order() [classes]int {
	var order [classes]int
	n := 0
	for _, late := range []bool{true, false} {
		for i := range classes {
			c := i
			if late {
				c = classes - 1 - i
			}
			if (t[c] >= passLimit) == late {
				order[n] = c
				n++
			}
		}
	}
	return order
}

// took notes that class got a place while those in waiting had something to
// start too.
func (t *turns) took(class int, waits func(class int) bool) {
	t[class] = 0
	for c := class + 1; c < classes; c++ {
		if t[c] < passLimit && waits(c) {
			t[c]++
		}
	}
}
