package queue

import (
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
)

func TestWorkers(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		stop bool
		want time.Duration
	}{
		{"end a moment after the last task", false, workerIdle},
		{"end at once when the manager does", true, 0},
	}
	for _, tt := range tests {
		synctest.Test(t, func(t *testing.T) {
			m := &Manager{}
			m.setup()
			m.phase = serving
			var mu sync.Mutex
			done := 0
			for range 3 { // rounds of tasks for the same workers
				m.mu.Lock()
				for range 50 {
					m.work(func() {
						time.Sleep(time.Minute)
						mu.Lock()
						defer mu.Unlock()
						done++
					})
				}
				m.mu.Unlock()
				time.Sleep(time.Minute)
				synctest.Wait()
			}
			assert.Equal(t, 150, done)
			start := time.Now()
			if tt.stop {
				m.drain()
			}
			m.group.Wait()
			assert.Equal(t, tt.want, time.Since(start), tt.name)
		})
	}
}
