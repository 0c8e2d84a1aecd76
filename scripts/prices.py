"""Write the shipped price list anew from the installed genai-prices: `python scripts/prices.py`."""

from apikeyrouter import prices

COMMON = (
    "openai", "anthropic", "google", "azure", "aws", "mistral", "groq", "deepseek", "x-ai", "cohere", "together",
    "fireworks", "cerebras", "perplexity", "moonshotai", "zai", "voyageai",
)  # fmt: skip

if __name__ == "__main__":
    listed = prices.refresh(prices.SHIPPED, providers=COMMON, litellm=False)
    size = prices.SHIPPED.stat().st_size
    print(f"{prices.SHIPPED.name}: {len(listed.rows)} models of {len(COMMON)} providers, {listed.name}, {size} bytes")
