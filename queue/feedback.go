package queue

import "math"

// Feedback is by how much one delivery moves the number of deliveries that a
// destination may have at a time: Postfix's destination_concurrency_feedback
// parameters. Of several that move it by less than one, it takes as many as add
// up to one. The zero value is one per delivery.
type Feedback struct {
	N    float64      // at most 1; zero means 1, and less than zero that nothing moves
	Form FeedbackForm // zero means Constant
}

// FeedbackForm says what Feedback.N is divided by.
type FeedbackForm byte

// The forms, in Postfix's notation "N", "N/concurrency" and
// "N/sqrt_concurrency". With PerConcurrency it takes a whole cohort of
// deliveries to move the number by N.
const (
	Constant FeedbackForm = iota
	PerConcurrency
	PerSqrtConcurrency
)

// at returns what one delivery counts at this window.
func (f Feedback) at(window int) float64 {
	n := f.N
	switch {
	case n == 0:
		n = 1
	case !(n > 0):
		return 0
	}
	n = min(n, 1)
	switch f.Form {
	case PerConcurrency:
		return n / float64(window)
	case PerSqrtConcurrency:
		return n / math.Sqrt(float64(window))
	}
	return n
}
