package main

// The log has two ways in. Events go out at once, each with a system call of its
// own: they are few, and somebody waits for them. The lines of requests may wait for
// each other, so that a thousand of them cost some twenty system calls; an event
// takes those that wait out before itself, so the log is in order whichever way its
// entries came in. Events are zap's; access.go writes the lines.

import (
	"io"
	"sync"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"proxima/configs"
)

// newLog writes events to w as the configuration asks. The level can be changed
// while the log is in use. Sync takes out the lines of requests that wait.
func newLog(w io.Writer, c configs.Log) (*zap.Logger, zap.AtomicLevel) {
	level := zap.NewAtomicLevelAt(levelOf(c))
	out := &batches{to: w}
	return zap.New(events{zapcore.NewCore(encoderOf(c), out, level), out, c.Format == "console"}), level
}

// events is the core of a log that has a second way in, for the lines of requests.
type events struct {
	zapcore.Core
	out     *batches
	console bool // the format, else JSON
}

// With adds fields to the events; the lines of requests have their own.
func (e events) With(fields []zap.Field) zapcore.Core {
	e.Core = e.Core.With(fields)
	return e
}

// levelOf reads a level that configs has checked.
func levelOf(c configs.Log) zapcore.Level {
	level, err := zapcore.ParseLevel(c.Level)
	if err != nil {
		return zapcore.InfoLevel
	}
	return level
}

// consoleTime is when something happened, for people.
const consoleTime = "15:04:05.000"

func encoderOf(c configs.Log) zapcore.Encoder {
	enc := zap.NewProductionEncoderConfig()
	enc.TimeKey, enc.EncodeTime = "time", zapcore.RFC3339NanoTimeEncoder
	enc.EncodeDuration = zapcore.StringDurationEncoder
	if c.Format == "console" {
		enc.EncodeLevel = zapcore.CapitalLevelEncoder
		enc.EncodeTime = zapcore.TimeEncoderOfLayout(consoleTime)
		return zapcore.NewConsoleEncoder(enc)
	}
	return zapcore.NewJSONEncoder(enc)
}

// How many lines of requests are held back, and for how long. A pipe holds 64 KiB
// (pipe(7)), so that who reads may be a batch behind before a request waits for it. A
// process that is killed, or crashes, takes at most this much with it.
const (
	batchBytes = 32 << 10
	batchWait  = 200 * time.Millisecond
)

// batches writes what comes in the order it comes: lines of requests in batches, events
// at once. It costs nothing while there is nothing to hold: no memory, no goroutine.
type batches struct {
	to io.Writer

	mu      sync.Mutex // guards all below, and the order of what is written
	waiting []byte
	due     *time.Timer // takes out what waits; nil: nothing ever waited
}

// Write writes an event at once, behind all lines that wait.
func (b *batches) Write(event []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.waiting) == 0 {
		return b.to.Write(event)
	}
	b.waiting = append(b.waiting, event...)
	return len(event), b.flush()
}

// hold keeps a line until there are enough of them or the first has waited long enough.
// A batch that cannot be written is lost, and nobody is told: this is the log.
func (b *batches) hold(line []byte) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.waiting)+len(line) > batchBytes {
		_ = b.flush()
	}
	if len(b.waiting) == 0 {
		b.wake()
	}
	b.waiting = append(b.waiting, line...)
}

// wake sees to it that what waits goes out in time. It is called for the first line of
// a batch.
func (b *batches) wake() {
	if b.due == nil {
		b.waiting = make([]byte, 0, batchBytes)
		b.due = time.AfterFunc(batchWait, func() { _ = b.takeOut() })
		return
	}
	b.due.Reset(batchWait)
}

func (b *batches) takeOut() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.flush()
}

// flush writes what waits, or loses it. The caller holds mu.
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
