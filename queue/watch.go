package queue

import "github.com/mtakit/mtakit"

// watcher is who wants to know what becomes of a message, and what he was told.
type watcher struct {
	results    Results
	id         string
	recipients []mtakit.Recipient
	told       []bool // guarded by Manager.mu until the message has ended
}

func (m *Manager) watch(id string, e *mtakit.Envelope, results Results) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.watchers[id] = &watcher{results: results, id: id, recipients: e.Clone().Recipients, told: make([]bool, len(e.Recipients))}
	m.watched.Store(int64(len(m.watchers)))
}

// moved takes note of a message that goes on under another ID, with the
// recipients that were left or what a filter has made of them. At no time is its
// key unknown.
func (m *Manager) moved(from *Stored, to string, e *mtakit.Envelope) {
	m.mu.Lock()
	w := m.watchers[from.ID]
	m.receipts.add(to, from.Key)
	m.receipts.drop(from.ID)
	m.unwatch(from.ID)
	m.mu.Unlock()
	if w != nil {
		m.watch(to, e, w.results)
	}
}

// unwatch is under mu.
func (m *Manager) unwatch(id string) {
	delete(m.watchers, id)
	m.watched.Store(int64(len(m.watchers)))
}

// pass passes on a result that is recorded, if it is the recipient's last.
func (m *Manager) pass(s *Stored, mark *Mark) {
	if mark.State == Pending || m.watched.Load() == 0 {
		return
	}
	m.mu.Lock()
	w := m.watchers[s.ID]
	fresh := w != nil && !w.told[mark.Recipient]
	if fresh {
		w.told[mark.Recipient] = true
	}
	m.mu.Unlock()
	if fresh {
		m.tellResult(w, mark)
	}
}

func (m *Manager) tellResult(w *watcher, mark *Mark) {
	defer m.survive("results")
	w.results.Result(m.recordCtx, recipientStatus(w.id, w.recipients[mark.Recipient], mark))
}

// tellRemoved tells of the recipients that nothing was told of.
func (m *Manager) tellRemoved(w *watcher) {
	for i, told := range w.told {
		if !told {
			mark := gone(i)
			m.tellResult(w, &mark)
		}
	}
}
