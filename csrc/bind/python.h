// What the parts of the Python door share: statuses as the exceptions of pyedge/errors.py, values at the border, and
// long work without the interpreter lock.
#ifndef PE_BIND_PYTHON_H
#define PE_BIND_PYTHON_H

#include "pyedge.h"

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <future>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace py = pybind11;

namespace {

using Ids = std::vector<int32_t>;
using Floats = py::array_t<float, py::array::c_style>;
using Bytes = py::array_t<uint8_t, py::array::c_style>;

// ---- errors -----------------------------------------------------------------------------------------------------

py::str text_of(const char *bytes, size_t size) {
    PyObject *text = PyUnicode_DecodeUTF8(bytes, static_cast<Py_ssize_t>(size), "replace");
    if (!text) throw py::error_already_set();
    return py::reinterpret_steal<py::str>(text);
}

py::str text_of(const char *bytes) { return bytes ? text_of(bytes, std::strlen(bytes)) : py::str(""); }

enum class Door { general, model_file, adapter };

// A refused file operation or a broken format is a ModelFileError only where the file is a model: a session file that
// cannot be written says nothing about the model.
[[noreturn]] void throw_status(pe_status status, const std::string &message, Door door = Door::general) {
    if (status == PE_ERR_ARG) throw py::value_error(message);
    const bool of_adapter = door == Door::adapter && status != PE_ERR_NOMEM;
    bool of_file = status == PE_ERR_IO || status == PE_ERR_FORMAT;
    const char *name = of_adapter                            ? "AdapterError"
                       : of_file && door == Door::model_file ? "ModelFileError"
                       : status == PE_ERR_UNSUPPORTED        ? "UnsupportedError"
                       : status == PE_ERR_NOMEM              ? "OutOfMemoryError"
                       : status == PE_ERR_CANCELLED          ? "CancelledError"
                                                             : "Error";
    py::object type = py::module_::import("pyedge.errors").attr(name);
    PyErr_SetObject(type.ptr(), text_of(message.data(), message.size()).ptr());
    throw py::error_already_set();
}

void check(pe_status status) {
    if (status != PE_OK) throw_status(status, pe_last_error());
}

[[noreturn]] void raise_overflow(size_t needed, size_t capacity, const std::string &message) {
    py::object type = py::module_::import("pyedge.errors").attr("ContextOverflowError");
    py::object error = type(text_of(message.data(), message.size()), needed, capacity);
    PyErr_SetObject(type.ptr(), error.ptr());
    throw py::error_already_set();
}

// ---- values at the border ---------------------------------------------------------------------------------------

Ids ids_of(const py::object &source) {
    if (py::isinstance<py::str>(source) || py::isinstance<py::bytes>(source))
        throw py::type_error("token ids must be a sequence of integers, not text: use tokenize() first");
    Ids ids;
    for (py::handle item : source) {
        const std::string where = "item " + std::to_string(ids.size());
        if (!PyIndex_Check(item.ptr()))
            throw py::type_error("token ids must be integers, and " + where + " is a " + Py_TYPE(item.ptr())->tp_name);
        Py_ssize_t value = PyNumber_AsSsize_t(item.ptr(), nullptr); // cut to the type's range, which is wide enough
        if (value < INT32_MIN || value > INT32_MAX)
            throw py::value_error("token id at " + where + " is out of range: ids are 0 to vocab_size - 1");
        ids.push_back(static_cast<int32_t>(value));
    }
    return ids;
}

std::string path_of(const py::object &path) {
    std::string bytes = py::module_::import("os").attr("fsencode")(path).cast<std::string>();
    if (bytes.find('\0') != std::string::npos) throw py::value_error("a path must not contain a NUL character");
    return bytes;
}

py::object meta_scalar(const pe_meta &meta) {
    pe_meta_type type = meta.type;
    if (type == PE_META_STRING) return text_of(meta.string, meta.string_size);
    if (type == PE_META_BOOL) return py::bool_(meta.value.b);
    if (type == PE_META_F32 || type == PE_META_F64) return py::float_(meta.value.f);
    if (type == PE_META_I8 || type == PE_META_I16 || type == PE_META_I32 || type == PE_META_I64)
        return py::int_(meta.value.i);
    return py::int_(meta.value.u);
}

// ---- long work --------------------------------------------------------------------------------------------------

bool on_main_thread() {
    py::module_ threading = py::module_::import("threading");
    return py::object(threading.attr("main_thread")().attr("ident")).equal(threading.attr("get_ident")());
}

struct Outcome {
    pe_status status = PE_OK;
    std::string message;
};

template <class Work> Outcome run(Work &work) {
    Outcome outcome;
    outcome.status = work();
    if (outcome.status != PE_OK) outcome.message = pe_last_error();
    return outcome;
}

// Run `work` without the interpreter lock and raise what it failed with.
template <class Work> void call(Work work, Door door = Door::general) {
    Outcome outcome;
    {
        py::gil_scoped_release unlocked;
        outcome = run(work);
    }
    if (outcome.status != PE_OK) throw_status(outcome.status, outcome.message, door);
}

// Run `work` on the session without the interpreter lock. Signals are delivered to the main thread alone, and Python
// handles them only between its own instructions: so where a long evaluation is called from there, another thread
// computes while this one looks for Ctrl-C and hands it on as a cancel. The evaluation stays one call of the core, and
// all or nothing.
template <class Work> Outcome run_long(pe_session *session, size_t n_ids, Work work) {
    constexpr size_t kShort = 16; // tokens: below, an evaluation ends before a person notices
    if (n_ids < kShort || !on_main_thread()) {
        py::gil_scoped_release unlocked;
        return run(work);
    }
    const uint32_t position = pe_session_position(session);
    std::future<Outcome> worker = std::async(std::launch::async, [&] { return run(work); });
    bool interrupted = false;
    for (bool done = false; !done;) {
        {
            py::gil_scoped_release unlocked;
            done = worker.wait_for(std::chrono::milliseconds(interrupted ? 1000 : 20)) == std::future_status::ready;
        }
        if (done || interrupted || PyErr_CheckSignals() == 0) continue;
        interrupted = true;
        pe_session_cancel(session);
    }
    Outcome outcome = worker.get();
    if (!interrupted) return outcome;
    if (outcome.status == PE_OK) pe_session_rewind(session, position); // it ended before the cancel reached it
    if (outcome.status != PE_ERR_CANCELLED) { // the cancel still waits for an evaluation: give it one
        int32_t id = 0;
        pe_session_eval(session, &id, 1, 1, nullptr);
        pe_session_rewind(session, position);
    }
    throw py::error_already_set();
}

} // namespace

#endif
