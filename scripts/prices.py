"""Write the shipped price list anew from the installed genai-prices: `python scripts/prices.py`."""

from pathlib import Path

from apikeyrouter import prices

COMMON = (
    "openai", "anthropic", "google", "azure", "aws", "mistral", "groq", "deepseek", "x-ai", "cohere", "together",
    "fireworks", "cerebras", "perplexity", "moonshotai", "zai", "voyageai",
)  # fmt: skip

if __name__ == "__main__":
    path = Path(__file__).parents[1] / "src" / "apikeyrouter" / prices.SHIPPED
    listed = prices.refresh(path, providers=COMMON, litellm=False)
    print(
        f"{path.name}: {len(listed.rows)} models of {len(COMMON)} providers, {listed.name}, {path.stat().st_size} bytes"
    )
