package queue

import "time"

// workerIdle is how long a worker waits for something to do before it ends.
const workerIdle = time.Second

// work has a worker do a task: one that waits for some, or a new one. Workers
// are kept for a moment because their stacks have grown to what deliveries
// need; a new goroutine grows its own each time. Under mu, while serving or from
// within the group.
func (m *Manager) work(task func()) {
	select {
	case m.idle <- task:
	default:
		m.group.Go(func() { m.worker(task) })
	}
}

func (m *Manager) worker(task func()) {
	timer := time.NewTimer(workerIdle)
	defer timer.Stop()
	for {
		task()
		timer.Reset(workerIdle)
		select {
		case task = <-m.idle:
		case <-timer.C:
			return
		case <-m.stop:
			return
		}
	}
}
