package proxy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"proxima/router"
)

// Problem is an error as the client is told it, in OpenAI's shape.
type Problem struct {
	Status     int
	Type       string // invalid_request_error, or server_error
	Code       string // stable, for programs
	Param      string // the request's field at fault, "" for none
	Message    string // for people: what is wrong and what to do
	RetryAfter time.Duration
}

func (p *Problem) Error() string { return p.Message }

// errClientLeft ends a request whose client is gone: there is nobody to tell.
var errClientLeft = errors.New("the client left")

// ErrStopping is the cause with which the base context of all requests is cancelled
// when the router will not wait for them any longer. Each client is told.
var ErrStopping = errors.New("the router is stopping")

// statusClientLeft is what the Record says of such a request, as nginx's log does.
const statusClientLeft = 499

var (
	problemInternal = &Problem{
		Status: http.StatusInternalServerError, Type: "server_error", Code: "internal_error",
		Message: "The router met an error of its own. The request may be sent again.",
	}
	problemLoop = &Problem{
		Status: http.StatusLoopDetected, Type: "server_error", Code: "loop_detected",
		Message: "This request has passed this router before: an endpoint's URL leads back to it.",
	}
	problemTarget = &Problem{
		Status: http.StatusBadRequest, Type: "invalid_request_error", Code: "invalid_target",
		Message: "The request's target is neither a path nor an http or https URL.",
	}
	problemSlow = &Problem{
		Status: http.StatusRequestTimeout, Type: "invalid_request_error", Code: "request_timeout",
		Message: "The request's body did not come in time.",
	}
	problemMethod = &Problem{
		Status: http.StatusMethodNotAllowed, Type: "invalid_request_error", Code: "method_not_allowed",
		Message: "CONNECT is not served here: this is a router for model inference, not a forward proxy.",
	}
	problemNoModel = &Problem{
		Status: http.StatusBadRequest, Type: "invalid_request_error", Code: "model_required", Param: "model",
		Message: `The request names no model. Put "model" at the top level of the JSON body, or set the X-Proxima-Model header.`,
	}
	problemModelName = &Problem{
		Status: http.StatusBadRequest, Type: "invalid_request_error", Code: "invalid_model", Param: "model",
		Message: fmt.Sprintf("The model's name is longer than %d bytes.", maxModel),
	}
	problemCut = &Problem{
		Type: "server_error", Code: "stream_cut",
		Message: "The endpoint broke off in the midst of the answer. What came is incomplete.",
	}
	problemStalled = &Problem{
		Type: "server_error", Code: "stream_stalled",
		Message: "The endpoint fell silent in the midst of the answer. What came is incomplete.",
	}
	problemStopping = &Problem{
		Status: http.StatusServiceUnavailable, Type: "server_error", Code: "router_stopping", RetryAfter: time.Second,
		Message: "The router was stopped before the answer was complete. Send the request again.",
	}
	problemDeadline = &Problem{
		Status: http.StatusGatewayTimeout, Type: "server_error", Code: "deadline_exceeded",
		Message: "The answer was not complete within the time that the request allows.",
	}
	problemMemory = &Problem{
		Status: http.StatusServiceUnavailable, Type: "server_error", Code: "overloaded", RetryAfter: time.Second,
		Message: "The router holds as many requests as it has memory for. Try again shortly.",
	}
	problemFull = &Problem{
		Status: http.StatusTooManyRequests, Type: "rate_limit_error", Code: string(router.Full), RetryAfter: time.Second,
		Message: "Every endpoint that may serve the request is full, and so is the queue for them, or the wait was too long. Try again shortly.",
	}
	problemEncoding = &Problem{
		Status: http.StatusUnsupportedMediaType, Type: "invalid_request_error", Code: "unsupported_encoding",
		Message: "The body is compressed, so its model cannot be read. Send it uncompressed.",
	}
)

func problemConflict(told, found string) *Problem {
	return &Problem{
		Status: http.StatusBadRequest, Type: "invalid_request_error", Code: "model_conflict", Param: "model",
		Message: fmt.Sprintf("The request asks for model %q and elsewhere for %q. Header, path and body must agree.", told, found),
	}
}

func problemTimeout(err error) *Problem {
	return &Problem{
		Status: http.StatusBadRequest, Type: "invalid_request_error", Code: "invalid_timeout",
		Message: fmt.Sprintf("%s is no time that can be waited for. Write seconds, or a time with its unit: 30, 2.5 or 1500ms; grpc-timeout: 30S or 1500m.", err),
	}
}

func problemBody(err error) *Problem {
	return &Problem{
		Status: http.StatusBadRequest, Type: "invalid_request_error", Code: "invalid_body",
		Message: fmt.Sprintf("The request's model cannot be read: %s.", err),
	}
}

func problemUnreadable(err error) *Problem {
	return &Problem{
		Status: http.StatusBadRequest, Type: "invalid_request_error", Code: "unreadable_body",
		Message: fmt.Sprintf("The request's body cannot be read: %s.", err),
	}
}

func problemTooLarge(limit int64) *Problem {
	return &Problem{
		Status: http.StatusRequestEntityTooLarge, Type: "invalid_request_error", Code: "body_too_large", Param: "model",
		Message: fmt.Sprintf(`"model" must come within the first %d bytes of a body this large. Put it first, or set the X-Proxima-Model header.`, limit),
	}
}

// unavailable is what the client is told when the router finds no endpoint.
func unavailable(reason router.Reason, x *exchange) *Problem {
	switch reason {
	case router.NoSuchModel:
		return &Problem{
			Status: http.StatusNotFound, Type: "invalid_request_error", Code: "model_not_found", Param: "model",
			Message: fmt.Sprintf("The model %q does not exist here. GET /v1/models lists those that do.", x.query.Model),
		}
	case router.NoRegion:
		return &Problem{
			Status: http.StatusUnavailableForLegalReasons, Type: "invalid_request_error", Code: string(reason),
			Message: fmt.Sprintf("Residency rules keep requests from %s out of every region that serves the model.", x.query.From.Country),
		}
	case router.Full:
		return problemFull
	case router.Shed:
		return &Problem{
			Status: http.StatusTooManyRequests, Type: "rate_limit_error", Code: string(reason), RetryAfter: time.Second,
			Message: fmt.Sprintf("Every endpoint is full, and requests of priority %q make room for others. Try again shortly.", x.query.Priority),
		}
	}
	return &Problem{
		Status: http.StatusServiceUnavailable, Type: "server_error", Code: string(router.NoneAvailable), RetryAfter: time.Second,
		Message: "No endpoint can take the request now: all that serve the model are drained or out of reach. Try again shortly.",
	}
}

// problem is what the client is told of the last attempt when it brought no answer.
func (a *attempt) problem() error {
	tried := len(a.exchange.record.Attempts)
	switch a.Outcome {
	case router.Cancelled:
		return a.exchange.cancelled()
	case router.Late:
		return &Problem{
			Status: http.StatusGatewayTimeout, Type: "server_error", Code: "first_byte_timeout",
			Message: fmt.Sprintf("No endpoint began to answer in time; %d tried.", tried),
		}
	case router.Broken:
		return &Problem{
			Status: http.StatusBadGateway, Type: "server_error", Code: "endpoint_broke",
			Message: fmt.Sprintf("The connection to the endpoint broke before it answered; %d tried.", tried),
		}
	}
	return &Problem{
		Status: http.StatusServiceUnavailable, Type: "server_error", Code: string(router.NoneAvailable), RetryAfter: time.Second,
		Message: fmt.Sprintf("No endpoint could be reached; %d tried. Try again shortly.", tried),
	}
}

// cancelled is what a client is told whose own doing ended the attempt: it left,
// or the rest of its body was at fault.
func (x *exchange) cancelled() error {
	x.body.stop() // what ended the attempt may not have been noted yet
	err := x.body.broken()
	var own *Problem
	switch {
	case err == nil:
		if p := endedBy(x.ctx); p != nil {
			return p
		}
		return errClientLeft
	case errors.As(err, &own):
		return own
	}
	return x.bodyProblem(err)
}

// endedBy is what the client is told of a request that was ended by its own deadline or
// by the router's; nil when the client itself is gone.
func endedBy(ctx context.Context) *Problem {
	switch context.Cause(ctx) {
	case errDeadline:
		return problemDeadline
	case ErrStopping:
		return problemStopping
	}
	return nil
}

// respond tells the client what went wrong, and writes it to the Record.
func (x *exchange) respond(err error) {
	var p *Problem
	switch {
	case errors.As(err, &p):
	case errors.Is(err, errClientLeft):
		x.record.Status, x.left = statusClientLeft, true
		return
	default:
		p = problemInternal
	}
	x.record.Status, x.record.Problem = p.Status, p.Code
	x.body.stop()
	h := x.w.Header()
	x.describe(h)
	x.closeUnread(h)
	h.Set("Content-Type", "application/json")
	if p.RetryAfter > 0 {
		h.Set("Retry-After", strconv.Itoa(int(p.RetryAfter.Seconds())))
	}
	x.committed = true
	x.w.WriteHeader(p.Status)
	n, err := x.w.Write(p.body())
	x.record.Bytes = int64(n)
	x.record.Complete = err == nil
}

// respondHere answers an OPTIONS or TRACE that is to go no further.
func (x *exchange) respondHere() {
	h := x.w.Header()
	x.describe(h)
	x.closeUnread(h)
	h.Set("Allow", "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS")
	x.record.Status, x.record.Complete, x.committed = http.StatusNoContent, true, true
	x.w.WriteHeader(http.StatusNoContent)
}

// body is {"error":{"message","type","param","code"}}, as OpenAI's API answers.
func (p *Problem) body() []byte {
	type detail struct {
		Message string  `json:"message"`
		Type    string  `json:"type"`
		Param   *string `json:"param"`
		Code    string  `json:"code"`
	}
	d := detail{Message: p.Message, Type: p.Type, Code: p.Code}
	if p.Param != "" {
		d.Param = &p.Param
	}
	text, _ := json.Marshal(map[string]detail{"error": d}) // strings only: cannot fail
	return append(text, '\n')
}
