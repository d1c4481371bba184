package telemetry

import (
	"cmp"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hansomcloud/hansom"
)

const sweepEvery = time.Hour

// run is the one goroutine that writes. It sleeps while nothing is logged.
func (l *Logs) run() {
	defer close(l.done)
	flush := time.NewTimer(time.Hour)
	flush.Stop()
	armed := false
	sweep := time.NewTimer(time.Minute)
	defer sweep.Stop()
	for {
		select {
		case <-l.wake:
			if !armed { // the first line waits longest
				flush.Reset(l.cfg.Flush)
				armed = true
			}
		case <-flush.C:
			armed = false
			l.flush(0)
		case <-l.kick:
			l.flush(flushAtOnce)
		case j := <-l.jobs:
			j.f()
			close(j.done)
		case <-sweep.C:
			l.sweep()
			sweep.Reset(sweepEvery)
		case <-l.stop:
			flush.Stop()
			l.flush(0)
			for _, s := range l.open {
				s.file.Close()
			}
			return
		}
	}
}

// flush writes the logs that have at least atLeast bytes waiting.
func (l *Logs) flush(atLeast int) {
	l.queue.Lock()
	list := l.queue.list
	l.queue.list = nil
	l.queue.Unlock()
	var later []*group
	for _, s := range list {
		s.mu.Lock()
		if atLeast > 0 && (s.buf == nil || len(*s.buf) < atLeast) {
			s.mu.Unlock()
			later = append(later, s)
			continue
		}
		s.mu.Unlock()
		_ = l.flushGroup(s) // it is logged there
	}
	if len(later) > 0 {
		l.queue.Lock()
		l.queue.list = append(l.queue.list, later...)
		l.queue.Unlock()
	}
}

// flushGroup writes what waits of a group. Lines that could not be written are counted, and the error is logged.
func (l *Logs) flushGroup(s *group) error {
	s.mu.Lock()
	if s.dropped > 0 {
		s.note(l, droppedLine(s.dropped))
		s.dropped = 0
	}
	if s.lost > 0 {
		s.note(l, lostLine(s.lost))
		s.lost = 0
	}
	s.noted = hansom.LogEvent{}
	buf := s.buf
	end := s.appended
	l.pending.Add(-s.counted)
	s.buf, s.counted, s.queued = nil, 0, false
	s.mu.Unlock()
	if buf == nil {
		return nil
	}
	err := l.write(s, *buf, end-int64(len(*buf)))
	if err != nil {
		l.logger.Error("log could not be written", "project", s.name.project, "group", s.name.String(), "error", err)
		n, _ := countRecords(segmentHeader, *buf)
		l.dropped.Add(int64(n))
		s.mu.Lock()
		s.lost += n
		s.mu.Unlock()
	}
	if cap(*buf) <= 2*flushAtOnce {
		*buf = (*buf)[:0]
		l.buffers.Put(buf)
	}
	return err
}

// write appends records to the last segment or begins a new one.
func (l *Logs) write(s *group, data []byte, base int64) error {
	s.disk.Lock()
	defer s.disk.Unlock()
	if err := l.load(s); err != nil {
		return err
	}
	now := l.cfg.Now()
	limit := max(l.cfg.FunctionSize/segmentsEach, 4<<10)
	if n := len(s.segments); n == 0 || s.restart || s.segments[n-1].full(int64(len(data)), limit, now.Add(-s.age/segmentsEach)) {
		if err := l.begin(s, base); err != nil {
			return err
		}
	} else if err := l.reopen(s); errors.Is(err, fs.ErrNotExist) { // removed by hand, or aged while it was not loaded
		if err := l.begin(s, base); err != nil {
			return err
		}
	} else if err != nil {
		return err
	}
	last := &s.segments[len(s.segments)-1]
	if _, err := s.file.Write(data); err != nil {
		// What was written of it goes again; logical offsets go on behind the loss.
		s.restart = true
		return errors.Join(err, s.file.Truncate(int64(len(segmentHeader))+last.size))
	}
	s.restart = false
	last.size += int64(len(data))
	last.last = now
	s.used = now.UnixNano()
	var total int64
	for _, seg := range s.segments {
		total += seg.size
	}
	if len(s.segments) > 1 && total > l.cfg.FunctionSize {
		if err := keepDate(s.name, s.dir, s.segments[0].first); err != nil {
			return err
		}
	}
	for len(s.segments) > 1 && total > l.cfg.FunctionSize {
		total -= s.segments[0].size
		removeSegment(s.segments[0].path)
		s.segments = s.segments[1:]
	}
	return nil
}

// full tells whether n more bytes belong into another segment: so that it can be dropped when it is too old, a segment spans a
// fraction of the age limit.
func (s *segment) full(n, limit int64, begun time.Time) bool {
	return s.header != segmentHeader || s.size+n > limit || s.first < begun.UnixMicro()
}

// begin makes a new segment. Its name is the time in microseconds, moved on where that is taken.
func (l *Logs) begin(s *group, base int64) error {
	l.release(s)
	first := max(l.cfg.Now().UnixMicro(), 0)
	if n := len(s.segments); n > 0 {
		first = max(first, s.segments[n-1].first+1)
	}
	path, f, err := l.create(s, first)
	if err != nil {
		return err
	}
	if _, err := f.WriteString(segmentHeader); err != nil {
		return errors.Join(err, f.Close(), os.Remove(path))
	}
	s.segments = append(s.segments, segment{path: path, header: segmentHeader, base: base, first: first, last: l.cfg.Now()})
	l.keep(s, f)
	return nil
}

// create makes a file named after first, or after the next microsecond that is free.
func (l *Logs) create(s *group, first int64) (string, *os.File, error) {
	for made := false; ; first++ {
		path := filepath.Join(s.dir, segmentName(first))
		f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY|os.O_APPEND, 0o600)
		switch {
		case errors.Is(err, fs.ErrExist):
			continue
		case errors.Is(err, fs.ErrNotExist) && !made:
			if s.name.function != "" { // the folder and the first segment tell all there is to know; see keepDate
				err = os.MkdirAll(s.dir, 0o700)
			} else {
				err = l.makeFolder(s.name, metadata{})
			}
			if err != nil {
				return "", nil, err
			}
			made = true
			first--
			continue
		}
		return path, f, err
	}
}

// reopen makes sure that the last segment's file is open.
func (l *Logs) reopen(s *group) error {
	if s.file != nil {
		return nil
	}
	f, err := os.OpenFile(s.segments[len(s.segments)-1].path, os.O_WRONLY|os.O_APPEND, 0)
	if err == nil {
		l.keep(s, f)
	}
	return err
}

// keep notes an open file and closes the one that was not written to for longest when there are too many.
func (l *Logs) keep(s *group, f *os.File) {
	if len(l.open) >= openFiles {
		l.release(slices.MinFunc(l.open, func(a, b *group) int { return cmp.Compare(a.used, b.used) }))
	}
	s.file = f
	l.open = append(l.open, s)
}

func (l *Logs) release(s *group) {
	if s.file == nil {
		return
	}
	if err := s.file.Close(); err != nil {
		l.logger.Warn("log could not be closed", "project", s.name.project, "group", s.name.String(), "error", err)
	}
	s.file = nil
	l.open = slices.DeleteFunc(l.open, func(o *group) bool { return o == s })
}

func segmentName(micros int64) string {
	text := strconv.FormatInt(micros, 10)
	return strings.Repeat("0", max(0, 16-len(text))) + text + ".log"
}

// segmentTime is the time in the name of a segment; ok is false for other files.
func segmentTime(file string) (micros int64, ok bool) {
	text, ok := strings.CutSuffix(file, ".log")
	micros, err := strconv.ParseInt(text, 10, 64)
	return micros, ok && err == nil
}

// load finds the segments that earlier starts have left and cuts a torn record off the last one. s.disk is held.
func (l *Logs) load(s *group) error {
	if s.loaded {
		return nil
	}
	entries, err := os.ReadDir(s.dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	var list []segment
	for _, e := range entries {
		first, ok := segmentTime(e.Name())
		info, err := e.Info()
		if !ok || err != nil {
			continue
		}
		list = append(list, segment{path: filepath.Join(s.dir, e.Name()), header: segmentHeader1, first: first, last: info.ModTime(),
			size: info.Size() - int64(len(segmentHeader))})
	}
	slices.SortFunc(list, func(a, b segment) int { return cmp.Compare(a.first, b.first) })
	if n := len(list); n > 0 {
		whole, header, err := repair(list[n-1].path)
		if err != nil {
			return err
		}
		if list[n-1].size, list[n-1].header = whole, header; whole < 0 {
			list = list[:n-1]
		}
	}
	base := int64(0)
	for i := len(list) - 1; i >= 0; i-- {
		base -= list[i].size
		list[i].base = base
	}
	meta, err := readMetadata(s.dir)
	if err != nil {
		return err
	}
	s.segments, s.age, s.loaded = list, l.age(meta), true
	return nil
}

// repair truncates a segment behind its last intact record and returns the length of its records and its format. A file without a
// whole header is removed; the length is -1 then.
func repair(path string) (int64, string, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return 0, "", err
	}
	header := string(b[:min(len(b), len(segmentHeader))])
	if header != segmentHeader && header != segmentHeader1 {
		return -1, "", removeSegment(path)
	}
	rest := b[len(header):]
	_, whole := countRecords(header, rest)
	if whole == len(rest) {
		return int64(whole), header, nil
	}
	return int64(whole), header, os.Truncate(path, int64(len(header)+whole))
}

// removeSegment removes a segment and its index.
func removeSegment(path string) error {
	err := os.Remove(indexPath(path))
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return errors.Join(os.Remove(path), err)
}

// sweep removes segments whose last line is older than the age limit of their group, also of functions that are gone.
func (l *Logs) sweep() {
	projects, err := os.ReadDir(l.dir)
	if err != nil {
		l.logger.Warn("old logs could not be removed", "error", err)
		return
	}
	for _, p := range projects {
		dir := filepath.Join(l.dir, p.Name())
		folders, err := os.ReadDir(dir)
		if err != nil {
			continue // not a folder: not ours
		}
		for _, f := range folders {
			if strings.HasPrefix(f.Name(), ".") { // left by a crash
				os.RemoveAll(filepath.Join(dir, f.Name()))
			} else if n, err := nameIn(p.Name(), dir, f.Name()); err == nil && n.valid() {
				l.sweepGroup(n, filepath.Join(dir, f.Name()))
			}
		}
		os.Remove(dir) // fails unless it is empty
	}
}

func (l *Logs) sweepGroup(n groupID, dir string) {
	meta, err := readMetadata(dir)
	if err != nil {
		l.logger.Warn("old logs could not be removed", "project", n.project, "group", n.String(), "error", err)
		return
	}
	cutoff := l.cfg.Now().Add(-l.age(meta))
	s := l.group(n, false)
	if s != nil {
		s.disk.Lock()
		defer s.disk.Unlock()
	}
	if s != nil && s.loaded {
		for len(s.segments) > 0 && s.segments[0].last.Before(cutoff) && keepDate(n, dir, s.segments[0].first) == nil {
			if len(s.segments) == 1 {
				l.release(s)
			}
			removeSegment(s.segments[0].path)
			s.segments = s.segments[1:]
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return
	}
	left := 0
	for _, e := range entries {
		info, err := e.Info()
		path := filepath.Join(dir, e.Name())
		switch {
		case err != nil:
		case strings.HasPrefix(e.Name(), "."): // being written, or left by a crash
			if info.ModTime().Before(l.cfg.Now().Add(-sweepEvery)) {
				os.Remove(path)
			}
		case strings.HasSuffix(e.Name(), ".log"):
			micros, _ := segmentTime(e.Name())
			if (s == nil || !s.loaded) && info.ModTime().Before(cutoff) && keepDate(n, dir, micros) == nil {
				removeSegment(path)
			} else {
				left++
			}
		}
	}
	if left == 0 && !meta.Kept {
		os.Remove(filepath.Join(dir, metadataFile))
		os.Remove(dir) // fails unless it is empty
	}
}

// readSegment calls f for each record of the first n bytes of a segment until f returns false. A record that is not intact ends
// the segment, and so does a file that has been removed meanwhile. Erased records are left out.
func readSegment(path string, n int64, f func(*record) bool) (bool, error) {
	file, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	defer file.Close()
	header := make([]byte, len(segmentHeader))
	if _, err := io.ReadFull(file, header); err != nil {
		return true, nil // a crash has left less than a header
	}
	format := string(header)
	in := io.LimitReader(file, n)
	buf := make([]byte, 0, 64<<10)
	at := int64(0)
	for {
		if len(buf) == cap(buf) {
			buf = slices.Grow(buf, cap(buf))
		}
		m, err := in.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+m]
		used := 0
		for {
			r, size, torn := parseRecord(format, buf[used:])
			if torn != nil {
				break
			}
			r.at = at
			used += size
			at += int64(size)
			if r.time != erased && !f(&r) {
				return false, nil
			}
		}
		buf = append(buf[:0], buf[used:]...)
		switch {
		case err == io.EOF:
			return true, nil
		case err != nil:
			return false, err
		case len(buf) >= maxRecord: // no record is so long: it is broken
			return true, nil
		}
	}
}
