package main

// The log has two ways in. Events go out at once, each with a system call of its
// own: they are few, and somebody waits for them. The lines of requests may wait for
// each other, so that a thousand of them cost some twenty system calls; an event
// takes those that wait out before itself, so the log is in order whichever way its
// entries came in. access.go says what stands in such a line.

import (
	"io"
	"sync"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"proxima/configs"
)

// newLog writes events to w as the configuration asks. The level can be changed
// while the log is in use. Sync takes out what waits.
func newLog(w io.Writer, c configs.Log) (*zap.Logger, zap.AtomicLevel) {
	level := zap.NewAtomicLevelAt(levelOf(c))
	encoder, out := encoderOf(c), &batches{to: w}
	return zap.New(twoWays{
		Core:  zapcore.NewCore(encoder, out, level),
		lines: zapcore.NewCore(encoder, held{out}, level),
	}), level
}

// levelOf reads a level that configs has checked.
func levelOf(c configs.Log) zapcore.Level {
	level, err := zapcore.ParseLevel(c.Level)
	if err != nil {
		return zapcore.InfoLevel
	}
	return level
}

func encoderOf(c configs.Log) zapcore.Encoder {
	enc := zap.NewProductionEncoderConfig()
	enc.TimeKey, enc.EncodeTime = "time", zapcore.RFC3339NanoTimeEncoder
	enc.EncodeDuration = zapcore.StringDurationEncoder
	if c.Format == "console" {
		enc.EncodeLevel = zapcore.CapitalLevelEncoder
		enc.EncodeTime = zapcore.TimeEncoderOfLayout("15:04:05.000")
		return zapcore.NewConsoleEncoder(enc)
	}
	return zapcore.NewJSONEncoder(enc)
}

// twoWays is a log's core. It writes at once; lines is the way in for what may wait.
type twoWays struct {
	zapcore.Core
	lines zapcore.Core
}

// With adds fields to both ways.
func (t twoWays) With(fields []zap.Field) zapcore.Core {
	return twoWays{t.Core.With(fields), t.lines.With(fields)}
}

// mayWait is the way in for entries that may wait, of a log that has one.
func mayWait(core zapcore.Core) zapcore.Core {
	if t, has := core.(twoWays); has {
		return t.lines
	}
	return core
}

// How much of what may wait is held back, and for how long. A batch fits into a pipe
// that has been read out, which is 64 KiB (pipe(7)), so that who reads may be a batch behind
// before a request waits for him. A process that is killed, or crashes, takes at most
// this much with it.
const (
	batchBytes = 32 << 10
	batchWait  = 200 * time.Millisecond
)

// batches writes entries in the order they come: what may wait in batches, the rest
// at once. It costs nothing while there is nothing to hold: no memory, no goroutine.
type batches struct {
	to io.Writer

	mu      sync.Mutex // guards all below, and the order of what is written
	waiting []byte
	due     *time.Timer // takes out what waits; nil: nothing ever waited
}

// Write writes an entry at once, with all that wait before it.
func (b *batches) Write(entry []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.waiting) == 0 {
		return b.to.Write(entry)
	}
	b.waiting = append(b.waiting, entry...)
	return len(entry), b.flush()
}

// hold keeps an entry until there are enough of them or the first has waited long
// enough.
func (b *batches) hold(entry []byte) (err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.waiting)+len(entry) > batchBytes {
		err = b.flush()
	}
	if len(b.waiting) == 0 {
		b.wake()
	}
	b.waiting = append(b.waiting, entry...)
	return err
}

// wake sees to it that what waits goes out in time. It is called for the first entry
// of a batch.
func (b *batches) wake() {
	if b.due == nil {
		b.waiting = make([]byte, 0, batchBytes)
		b.due = time.AfterFunc(batchWait, func() { _ = b.takeOut() }) // there is no other log to tell
		return
	}
	b.due.Reset(batchWait)
}

func (b *batches) takeOut() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.flush()
}

// flush writes what waits. What cannot be written is lost, as an entry is that goes
// out at once. The caller holds mu.
func (b *batches) flush() error {
	if len(b.waiting) == 0 {
		return nil
	}
	_, err := b.to.Write(b.waiting)
	b.waiting = b.waiting[:0]
	return err
}

// Sync takes out what waits, and asks for it to be kept where that can be asked.
func (b *batches) Sync() error {
	if err := b.takeOut(); err != nil {
		return err
	}
	return zapcore.AddSync(b.to).Sync()
}

// held is the way into batches for what may wait.
type held struct{ *batches }

// Write implements io.Writer.
func (h held) Write(entry []byte) (int, error) { return len(entry), h.hold(entry) }
