// The Python door: a thin binding of pyedge.h, and of nothing else.
//
// What it owns is what only it can: turning statuses into the exceptions of pyedge/errors.py, releasing the
// interpreter lock around everything that may take long, NumPy arrays at the border, and Ctrl-C. Everything that can
// be said in Python (defaults, stop strings, templates) is said there.

#include "bind/python.h"

namespace {

// ---- classes ----------------------------------------------------------------------------------------------------

struct Unique {
    Unique() = default;
    Unique(const Unique &) = delete;
    Unique &operator=(const Unique &) = delete;
};

class Model : Unique {
  public:
    Model(const py::object &path, const std::optional<std::string> &pretokenizer, const py::object &tokenizer,
          bool no_weights) {
        std::string name = path_of(path), vocabulary = tokenizer.is_none() ? "" : path_of(tokenizer);
        pe_model_options options{};
        options.pretokenizer = pretokenizer ? pretokenizer->c_str() : nullptr;
        options.tokenizer = tokenizer.is_none() ? nullptr : vocabulary.c_str();
        options.no_weights = no_weights;
        call([&] { return pe_model_open_with(name.c_str(), &options, &handle_); }, Door::model_file);
        pe_model_get_info(handle_, &info_);
    }
    ~Model() { pe_model_release(handle_); }
    pe_model *handle() const { return handle_; }
    const pe_model_info &info() const { return info_; }

    py::dict info_dict() const {
        using namespace py::literals;
        const pe_model_info &i = info_;
        return py::dict(
            "name"_a = text_of(i.name), "arch"_a = text_of(i.arch), "n_vocab"_a = i.n_vocab,
            "n_ctx_train"_a = i.n_ctx_train, "n_embd"_a = i.n_embd, "n_layer"_a = i.n_layer, "n_head"_a = i.n_head,
            "n_head_kv"_a = i.n_head_kv, "n_ff"_a = i.n_ff, "n_params"_a = i.n_params, "file_size"_a = i.file_size,
            "bos_id"_a = i.bos_id, "eos_id"_a = i.eos_id, "add_bos"_a = i.add_bos,
            "chat_template"_a = i.chat_template ? py::object(text_of(i.chat_template)) : py::object(py::none()));
    }

    py::dict metadata(bool arrays) const {
        py::dict out;
        for (size_t k = 0; k < pe_model_meta_count(handle_); k++) {
            pe_meta meta;
            check(pe_model_meta(handle_, k, &meta));
            const bool array = meta.type == PE_META_ARRAY;
            if (array && !arrays) continue;
            out[text_of(meta.key)] = array ? py::object(meta_items(k, meta.n_items)) : meta_scalar(meta);
        }
        return out;
    }

    py::list tensors() const { // (name, type number, shape with the contiguous dimension last, offset, size)
        py::list out;
        for (size_t t = 0; t < pe_model_tensor_count(handle_); t++) {
            pe_tensor_info tensor;
            check(pe_model_tensor(handle_, t, &tensor));
            py::tuple shape(tensor.n_dims);
            for (uint32_t d = 0; d < tensor.n_dims; d++) shape[d] = tensor.dims[tensor.n_dims - 1 - d];
            out.append(py::make_tuple(text_of(tensor.name), tensor.type, shape, tensor.offset, tensor.size));
        }
        return out;
    }

    uint64_t session_bytes(uint32_t n_ctx, const std::string &kv_type) const {
        return pe_model_session_bytes(handle_, n_ctx, kv_type.c_str());
    }

    py::list tokenize(const py::bytes &text, bool add_special, bool parse_special) const {
        char *data = nullptr;
        Py_ssize_t size = 0;
        if (PyBytes_AsStringAndSize(text.ptr(), &data, &size) != 0) throw py::error_already_set();
        unsigned flags =
            (add_special ? unsigned{PE_TOKENIZE_SPECIAL} : 0u) | (parse_special ? unsigned{PE_TOKENIZE_PARSE} : 0u);
        /* One id a byte and a few around them: nearly always enough, and memory that is not used costs nothing. */
        size_t cap = static_cast<size_t>(size) + 16, n_ids = 0;
        std::unique_ptr<int32_t[]> ids(new int32_t[cap]);
        call([&] {
            pe_status status = pe_tokenize(handle_, data, static_cast<size_t>(size), flags, ids.get(), cap, &n_ids);
            if (status != PE_OK || n_ids <= cap) return status;
            ids.reset(new int32_t[cap = n_ids]);
            return pe_tokenize(handle_, data, static_cast<size_t>(size), flags, ids.get(), cap, &n_ids);
        });
        py::list out(n_ids);
        for (size_t i = 0; i < n_ids; i++)
            PyList_SET_ITEM(out.ptr(), static_cast<Py_ssize_t>(i), py::int_(ids[i]).release().ptr());
        return out;
    }

    py::bytes token_bytes(int32_t id) const {
        const char *bytes = nullptr;
        size_t size = 0;
        check(pe_token_bytes(handle_, id, &bytes, &size));
        return py::bytes(bytes, size);
    }

    unsigned token_attributes(int32_t id) const { return pe_token_attributes(handle_, id); }
    py::bytes detokenize(const py::object &source, bool skip_special) const {
        Ids ids = ids_of(source);
        std::string text(ids.size() * 8 + 16, '\0');
        size_t n_bytes = 0;
        for (int attempt = 0; attempt < 2; attempt++) {
            check(pe_detokenize(handle_, ids.data(), ids.size(), skip_special, text.data(), text.size(), &n_bytes));
            if (n_bytes <= text.size()) break;
            text.resize(n_bytes);
        }
        return py::bytes(text.data(), n_bytes);
    }

  private:
    py::list meta_items(size_t key, uint64_t n_items) const {
        py::list items(static_cast<size_t>(n_items));
        for (size_t i = 0; i < items.size(); i++) {
            pe_meta item;
            check(pe_model_meta_item(handle_, key, i, &item));
            items[i] = meta_scalar(item);
        }
        return items;
    }

    pe_model *handle_ = nullptr;
    pe_model_info info_{};
};

class Adapter : Unique {
  public:
    Adapter(const Model &model, const py::object &path) {
        std::string name = path_of(path);
        call([&] { return pe_adapter_open(model.handle(), name.c_str(), &handle_); }, Door::adapter);
    }
    ~Adapter() { pe_adapter_release(handle_); }
    pe_adapter *handle() const { return handle_; }
    py::dict info() const {
        using namespace py::literals;
        pe_adapter_info i;
        pe_adapter_get_info(handle_, &i);
        return py::dict("format"_a = text_of(i.format), "rank"_a = i.rank, "n_targets"_a = i.n_targets,
                        "n_params"_a = i.n_params, "bytes"_a = i.bytes, "n_sessions"_a = i.n_sessions);
    }
    // Names of the tensors that it changes, in the order of their indices.
    py::list targets() const {
        pe_adapter_info i;
        pe_adapter_get_info(handle_, &i);
        py::list out;
        for (size_t t = 0; t < i.n_targets; t++) {
            const char *name = nullptr;
            check(pe_adapter_merge(handle_, t, 1, 0, 0, nullptr, &name));
            out.append(text_of(name));
        }
        return out;
    }
    // Rows first.. of a target, changed in place.
    void merge(size_t target, float scale, size_t first, Floats &rows) const {
        const char *name = nullptr;
        float *values = rows.mutable_data();
        const size_t end = first + static_cast<size_t>(rows.ndim() ? rows.shape(0) : 0);
        call([&] { return pe_adapter_merge(handle_, target, scale, first, end, values, &name); }, Door::adapter);
    }

  private:
    pe_adapter *handle_ = nullptr;
};

class Sampler : Unique {
  public:
    Sampler(float temperature, int32_t top_k, float top_p, float min_p, float repeat_penalty, const py::object &seed,
            const std::vector<std::pair<int32_t, float>> &logit_bias) {
        std::vector<pe_logit_bias> bias;
        for (const auto &entry : logit_bias) bias.push_back({entry.first, entry.second});
        pe_sampler_options options = pe_sampler_defaults();
        options.temperature = temperature;
        options.top_k = top_k;
        options.top_p = top_p;
        options.min_p = min_p;
        options.repeat_penalty = repeat_penalty;
        options.has_seed = !seed.is_none();
        if (options.has_seed) options.seed = seed.cast<uint64_t>();
        options.bias = bias.data();
        options.n_bias = bias.size();
        check(pe_sampler_create(&options, &handle_));
    }
    ~Sampler() { pe_sampler_release(handle_); }
    pe_sampler *handle() const { return handle_; }
    uint64_t seed() const { return pe_sampler_seed(handle_); }
    void accept(const py::object &source) {
        for (int32_t id : ids_of(source)) pe_sampler_accept(handle_, id);
    }

  private:
    pe_sampler *handle_ = nullptr;
};

class Session : Unique {
  public:
    Session(const Model &model, uint32_t n_ctx, int n_threads, const std::string &kv_type,
            const std::optional<std::string> &isa, uint64_t memory_limit)
        : n_vocab_(model.info().n_vocab), n_embd_(model.info().n_embd) {
        pe_session_options options{};
        options.n_ctx = n_ctx;
        options.n_threads = n_threads;
        options.kv_type = kv_type.c_str();
        options.isa = isa ? isa->c_str() : nullptr;
        options.memory_limit = memory_limit;
        call([&] { return pe_session_create(model.handle(), &options, &handle_); });
    }
    ~Session() {
        py::gil_scoped_release unlocked; // its threads are joined
        pe_session_release(handle_);
    }

    Floats eval(const py::object &source) {
        Ids ids = ids_of(source);
        Floats out(static_cast<py::ssize_t>(n_vocab_));
        evaluate(ids, ids.empty() ? 0 : ids.size() - 1, out.mutable_data());
        return out;
    }
    void advance(const py::object &source) { // evaluate, keep the logits inside for sample()
        Ids ids = ids_of(source);
        evaluate(ids, ids.size(), nullptr);
    }
    void step(int32_t id, size_t ahead) {
        long_call(1, [&] { return pe_session_step(handle_, id, ahead); });
    }
    py::tuple lookups() const { // tokens drafted, and of these accepted
        uint64_t drafted = 0, accepted = 0;
        pe_session_lookups(handle_, &drafted, &accepted);
        return py::make_tuple(drafted, accepted);
    }
    Floats logits(const py::object &source) {
        Ids ids = ids_of(source);
        Floats out({static_cast<py::ssize_t>(ids.size()), static_cast<py::ssize_t>(n_vocab_)});
        evaluate(ids, 0, out.mutable_data());
        return out;
    }
    Floats score(const py::object &source, size_t first) {
        Ids ids = ids_of(source);
        if (ids.size() < 2 || first > ids.size() - 2)
            throw py::value_error("scoring needs at least two ids, and `first` before the last one");
        Floats out(static_cast<py::ssize_t>(ids.size() - 1 - first));
        float *data = out.mutable_data();
        long_call(ids.size(), [&] { return pe_session_score(handle_, ids.data(), ids.size(), first, data); });
        return out;
    }
    Floats hidden(const py::object &source) {
        Ids ids = ids_of(source);
        Floats out({static_cast<py::ssize_t>(ids.size()), static_cast<py::ssize_t>(n_embd_)});
        float *data = out.mutable_data();
        long_call(ids.size(), [&] { return pe_session_hidden(handle_, ids.data(), ids.size(), data); });
        return out;
    }

    uint32_t position() const { return pe_session_position(handle_); }
    uint32_t capacity() const { return pe_session_capacity(handle_); }
    int threads() const { return pe_session_threads(handle_); }
    py::str isa() const { return text_of(pe_session_isa(handle_)); }
    uint64_t bytes() const { return pe_session_bytes(handle_); }
    Ids tokens() const {
        if (running_ > 0)
            throw_status(PE_ERR_BUSY, "the session is evaluating in another thread: its tokens can be read after");
        const int32_t *ids = pe_session_tokens(handle_);
        return ids ? Ids(ids, ids + position()) : Ids();
    }
    void rewind(uint32_t position) { check(pe_session_rewind(handle_, position)); }
    void cancel() { pe_session_cancel(handle_); }
    void set_adapters(const std::vector<const Adapter *> &adapters, const std::vector<float> &scales) {
        std::vector<pe_adapter *> handles;
        for (const Adapter *adapter : adapters) handles.push_back(adapter->handle());
        if (scales.size() != handles.size()) throw py::value_error("adapters need as many scales");
        call([&] { return pe_session_set_adapters(handle_, handles.data(), scales.data(), handles.size()); },
             Door::adapter);
    }
    py::tuple reevaluated() const { // tokens evaluated anew because of a change of adapters, and the seconds
        uint64_t tokens = 0;
        double seconds = 0;
        pe_session_reevaluated(handle_, &tokens, &seconds);
        return py::make_tuple(tokens, seconds);
    }
    uint64_t token_bytes(uint32_t position) const { return pe_session_token_bytes(handle_, position); }
    uint64_t read_weights() {
        uint64_t sum = 0;
        call([&] { return pe_session_read_weights(handle_, &sum); });
        return sum;
    }

    void collect(bool on) {
        call([&] { return pe_session_collect(handle_, on); });
    }
    py::dict collected() const { // name: (sums [matrices, columns], counts [matrices]) of the matrices
        if (running_ > 0)
            throw_status(PE_ERR_BUSY, "the session is evaluating in another thread: its sums can be read after");
        py::dict out;
        pe_collected c;
        for (size_t i = 0; pe_session_collected(handle_, i, &c); i++) {
            if (!c.sums) continue;
            const auto rows = static_cast<py::ssize_t>(c.n_matrices), columns = static_cast<py::ssize_t>(c.n_columns);
            out[text_of(c.tensor)] =
                py::make_tuple(py::array_t<double>({rows, columns}, c.sums), py::array_t<uint64_t>(rows, c.counts));
        }
        return out;
    }

    std::unique_ptr<Session> fork() {
        std::unique_ptr<Session> other(new Session(n_vocab_, n_embd_));
        call([&] { return pe_session_fork(handle_, &other->handle_); });
        return other;
    }
    void save(const py::object &path) { file(path, pe_session_save); }
    void load(const py::object &path) { file(path, pe_session_load); }

    py::tuple sample(const Sampler &sampler) {
        int32_t id = -1;
        float logprob = 0;
        call([&] { return pe_session_sample(handle_, sampler.handle(), &id, &logprob); });
        return py::make_tuple(id, logprob);
    }
    py::tuple top(size_t k) { // ids and their logprobs, best first
        Ids ids(std::min(k, n_vocab_));
        std::vector<float> logprobs(ids.size());
        check(pe_session_top(handle_, ids.size(), ids.data(), logprobs.data()));
        return py::make_tuple(ids, logprobs);
    }

  private:
    Session(size_t n_vocab, size_t n_embd) : n_vocab_(n_vocab), n_embd_(n_embd) {}
    void evaluate(const Ids &ids, size_t first, float *logits) {
        long_call(ids.size(), [&] { return pe_session_eval(handle_, ids.data(), ids.size(), first, logits); });
    }
    void file(const py::object &path, pe_status (*operation)(pe_session *, const char *)) {
        std::string name = path_of(path);
        call([&] { return operation(handle_, name.c_str()); });
    }

    // One evaluation, interruptible; running_ changes only under the interpreter lock.
    template <class Work> void long_call(size_t n_ids, Work work) {
        running_++;
        const std::shared_ptr<void> end(nullptr, [this](void *) { running_--; });
        Outcome outcome = run_long(handle_, n_ids, work);
        if (outcome.status == PE_ERR_CONTEXT) raise_overflow(position() + n_ids, capacity(), outcome.message);
        if (outcome.status != PE_OK) throw_status(outcome.status, outcome.message);
    }

    pe_session *handle_ = nullptr;
    size_t n_vocab_, n_embd_;
    int running_ = 0;
};

// ---- the machine and the types ----------------------------------------------------------------------------------

py::list isas() {
    py::list out;
    pe_isa_info info;
    for (size_t i = 0; pe_isa_get(i, &info); i++)
        out.append(py::make_tuple(text_of(info.name), info.usable, text_of(info.reason)));
    return out;
}

py::str isa_select() {
    const char *name = nullptr;
    check(pe_isa_select(&name));
    return text_of(name);
}

py::tuple threads_explain() {
    int allowed = 0, forced = 0;
    double quota = 0;
    int chosen = pe_threads_explain(&allowed, &quota, &forced);
    return py::make_tuple(chosen, allowed, quota, forced);
}

py::dict types() {
    py::dict out;
    pe_type_info info;
    for (size_t i = 0; pe_type_get(i, &info); i++)
        out[py::int_(info.type)] = py::make_tuple(text_of(info.name), info.block_elements, info.block_bytes);
    return out;
}

Floats dequantize(int type, const Bytes &data, size_t n) {
    Floats out(static_cast<py::ssize_t>(n));
    float *values = out.mutable_data();
    call([&] { return pe_dequantize(type, data.data(), static_cast<size_t>(data.size()), values, n); });
    return out;
}

// Rows of one type into another: the squared error and the sum of squares.
py::tuple quantize_rows(Bytes &out, int to, const Bytes &data, int from, size_t n_rows, size_t n_per_row,
                        const std::optional<Floats> &importance, int n_threads) {
    if (importance && static_cast<size_t>(importance->size()) != n_per_row)
        throw py::value_error(std::to_string(importance->size()) + " importances for " + std::to_string(n_per_row) +
                              " columns");
    const float *weights = importance ? importance->data() : nullptr;
    uint8_t *bytes = out.mutable_data();
    pe_quantize_result result{};
    call([&] {
        return pe_quantize_rows(bytes, static_cast<size_t>(out.size()), to, data.data(),
                                static_cast<size_t>(data.size()), from, n_rows, n_per_row, weights, n_threads, &result);
    });
    return py::make_tuple(result.squared_error, result.squared_sum);
}

} // namespace

PYBIND11_MODULE(_core, m) {
    m.attr("TOKEN_CONTROL") = static_cast<int>(PE_TOKEN_CONTROL);
    m.attr("TOKEN_END") = static_cast<int>(PE_TOKEN_END);
    m.def("version", [] { return text_of(pe_version()); });
    m.def("isas", isas);
    m.def("isa_select", isa_select);
    m.def("threads_explain", threads_explain);
    m.def("types", types);
    m.def("can_quantize", pe_type_can_quantize, py::arg("type"));
    m.def("dequantize", dequantize, py::arg("type"), py::arg("data"), py::arg("n"));
    m.def("quantize_rows", quantize_rows, py::arg("out").noconvert(), py::arg("to"), py::arg("data"), py::arg("type"),
          py::arg("n_rows"), py::arg("n_per_row"), py::arg("importance"), py::arg("n_threads"));

    py::class_<Model>(m, "Model")
        .def(py::init<const py::object &, const std::optional<std::string> &, const py::object &, bool>(),
             py::arg("path"), py::arg("pretokenizer") = py::none(), py::arg("tokenizer") = py::none(),
             py::arg("no_weights") = false)
        .def("info", &Model::info_dict)
        .def("metadata", &Model::metadata, py::arg("arrays"))
        .def("tensors", &Model::tensors)
        .def("session_bytes", &Model::session_bytes, py::arg("n_ctx"), py::arg("kv_type"))
        .def("tokenize", &Model::tokenize, py::arg("text"), py::arg("add_special"), py::arg("parse_special"))
        .def("token_bytes", &Model::token_bytes, py::arg("id"))
        .def("token_attributes", &Model::token_attributes, py::arg("id"))
        .def("detokenize", &Model::detokenize, py::arg("ids"), py::arg("skip_special"));

    py::class_<Adapter>(m, "Adapter")
        .def(py::init<const Model &, const py::object &>(), py::arg("model"), py::arg("path"))
        .def("info", &Adapter::info)
        .def("targets", &Adapter::targets)
        .def("merge", &Adapter::merge, py::arg("target"), py::arg("scale"), py::arg("first"),
             py::arg("rows").noconvert());

    py::class_<Sampler>(m, "Sampler")
        .def(py::init<float, int32_t, float, float, float, const py::object &,
                      const std::vector<std::pair<int32_t, float>> &>(),
             py::kw_only(), py::arg("temperature"), py::arg("top_k"), py::arg("top_p"), py::arg("min_p"),
             py::arg("repeat_penalty"), py::arg("seed"), py::arg("logit_bias"))
        .def_property_readonly("seed", &Sampler::seed)
        .def("accept", &Sampler::accept, py::arg("ids"));

    py::class_<Session>(m, "Session")
        .def(
            py::init<const Model &, uint32_t, int, const std::string &, const std::optional<std::string> &, uint64_t>(),
            py::arg("model"), py::kw_only(), py::arg("n_ctx"), py::arg("n_threads"), py::arg("kv_type"), py::arg("isa"),
            py::arg("memory_limit"))
        .def("eval", &Session::eval, py::arg("ids"))
        .def("advance", &Session::advance, py::arg("ids"))
        .def("step", &Session::step, py::arg("id"), py::arg("ahead"))
        .def_property_readonly("lookups", &Session::lookups)
        .def("logits", &Session::logits, py::arg("ids"))
        .def("score", &Session::score, py::arg("ids"), py::arg("first"))
        .def("hidden", &Session::hidden, py::arg("ids"))
        .def_property_readonly("position", &Session::position)
        .def_property_readonly("capacity", &Session::capacity)
        .def_property_readonly("threads", &Session::threads)
        .def_property_readonly("isa", &Session::isa)
        .def_property_readonly("bytes", &Session::bytes)
        .def_property_readonly("tokens", &Session::tokens)
        .def("rewind", &Session::rewind, py::arg("position"))
        .def("cancel", &Session::cancel)
        .def("set_adapters", &Session::set_adapters, py::arg("adapters"), py::arg("scales"))
        .def_property_readonly("reevaluated", &Session::reevaluated)
        .def("token_bytes", &Session::token_bytes, py::arg("position"))
        .def("read_weights", &Session::read_weights)
        .def("collect", &Session::collect, py::arg("on"))
        .def("collected", &Session::collected)
        .def("fork", &Session::fork)
        .def("save", &Session::save, py::arg("path"))
        .def("load", &Session::load, py::arg("path"))
        .def("sample", &Session::sample, py::arg("sampler"))
        .def("top", &Session::top, py::arg("k"));
}
