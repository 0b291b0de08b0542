//! How to load the model.

use smollm3_recipe::ModelType;

use crate::About;
use crate::facts::Facts;

/// The section for transformers, vLLM and llama.cpp.
pub(crate) fn loading(facts: &Facts, about: &About<'_>) -> String {
    let name = about.repository.unwrap_or("FOLDER");
    let revision = about.revision.filter(|revision| *revision != "main");
    let python_revision = revision.map_or(String::new(), |revision| format!(", revision=\"{revision}\""));
    let flag = revision.map_or(String::new(), |revision| format!(" --revision {revision}"));
    let id = revision.map_or(name.to_owned(), |revision| format!("{name}@{revision}"));
    let since = match facts.config.model_type {
        ModelType::SmolLM3 => " (4.53 or newer)",
        ModelType::Llama => "",
    };
    let prompt = match facts.has_template {
        true => {
            "messages = [{\"role\": \"user\", \"content\": \"What is 27 + 15?\"}]\n\
             ids = tokenizer.apply_chat_template(\n    messages, add_generation_prompt=True, return_dict=True, return_tensors=\"pt\"\n)\n"
        }
        false => "ids = tokenizer(\"Once upon a time\", return_tensors=\"pt\")\n",
    };
    let (with, imports, class, serve) = match &facts.adapter {
        Some(adapter) => (
            "transformers and PEFT",
            "from peft import AutoPeftModelForCausalLM\nfrom transformers import AutoTokenizer",
            "AutoPeftModelForCausalLM",
            format!(
                "vllm serve {} --enable-lora --max-lora-rank {} --lora-modules adapter={name}",
                adapter.base.as_deref().unwrap_or("BASE"),
                // vLLM accepts few values.
                adapter.rank.next_power_of_two().max(8)
            ),
        ),
        None => (
            "transformers",
            "from transformers import AutoModelForCausalLM, AutoTokenizer",
            "AutoModelForCausalLM",
            format!("vllm serve {name}{flag}"),
        ),
    };
    format!(
        "## How to load it\n\nWith {with}{since}:\n\n```python\n\
         {imports}\n\n\
         tokenizer = AutoTokenizer.from_pretrained(\"{name}\"{python_revision})\n\
         model = {class}.from_pretrained(\"{name}\"{python_revision})\n\
         {prompt}\
         out = model.generate(**ids, max_new_tokens=64)\n\
         print(tokenizer.decode(out[0][ids[\"input_ids\"].shape[1]:], skip_special_tokens=True))\n```\n\n\
         With vLLM:\n\n```sh\n{serve}\n```\n\n\
         With llama.cpp:\n\n```sh\nsmollm3 export {id} --out model.gguf --gguf q8_0\nllama-cli -m model.gguf --jinja\n```\n\n"
    )
}
