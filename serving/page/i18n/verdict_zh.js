// Chinese sentences of an explanation: which stage decided, and what would have had to differ.

import { component } from "../i18n.js";

const short = (value) => Number(value.toPrecision(4)).toString();

/** The channel whose limit the film came nearest to. */
function nearest(channels) {
  const ranked = channels.filter((channel) => channel.rank !== null);
  ranked.sort((one, other) => one.rank / one.retrieves - other.rank / other.retrieves);
  return ranked;
}

export function why({ fate, channels, place, k }, { merge, score, select, filter }) {
  switch (fate) {
    case "excluded":
      return "用户已经看过它（或请求排除了它），历史中的电影不会再被推荐。";
    case "not_offered": {
      const [best] = nearest(channels);
      if (best === undefined) return "没有任何一路召回能给它打分。";
      return `没有一路召回提名它；最接近的是${component(best.name)}：排第 ${best.rank}，只取前 ${best.retrieves}。`;
    }
    case "cut_by_merge":
      if (merge.place === null) return "有召回提名了它，但合并没有给它分数。";
      return `合并后它排第 ${merge.place}（共 ${merge.of}），只保留前 ${merge.limit}。`;
    case "filtered":
      return `过滤器 ${filter?.name ?? ""} 去掉了它。`;
    case "ranked_low":
      return `${score ? `${component(score.name)} 把它排在` : "它排在"}第 ${(score ?? merge).place} 位（共 ${(score ?? merge).of}），片单只有 ${k} 部。`;
    case "reranked_out":
      if (select.place === null) return `${component(select.name)} 不会把它放进任何长度的片单。`;
      return `${component(select.name)} 把它从第 ${(score ?? merge).place} 位移到第 ${select.place} 位，片单只有 ${k} 部。`;
    case "recommended":
      return `它在片单的第 ${place} 位${score ? `（排序后第 ${score.place}）` : ""}。`;
    default:
      return "片库中没有这部电影。";
  }
}

export function helps({ fate, channels, k }, { merge, score, select }) {
  const view = score ?? merge;
  switch (fate) {
    case "excluded":
      return ["一份不含它的历史"];
    case "not_offered":
      return nearest(channels).map(
        (channel) => `${component(channel.name)}：取前 ${channel.rank}，而不是前 ${channel.retrieves}`,
      );
    case "cut_by_merge":
      return merge.place === null
        ? ["在合并中提高召回它的那一路的权重"]
        : [`合并后至少保留 ${merge.place} 部`, "在各路召回中名次更靠前"];
    case "filtered":
      return ["一个允许它通过的过滤器"];
    case "ranked_low": {
      const found = [`片单至少 ${select?.place ?? view.place} 部`];
      if (view.score !== null && view.last_score !== null) {
        found.unshift(
          `得分达到 ${short(view.last_score)}（第 ${Math.min(k, view.limit)} 位的得分），而现在是 ${short(view.score)}`,
        );
      }
      return found;
    }
    case "reranked_out":
      return select.place === null
        ? ["调整重排的规则"]
        : [`片单至少 ${select.place} 部`, "降低多样性，或与片单中的电影差别更大"];
    default:
      return [];
  }
}
