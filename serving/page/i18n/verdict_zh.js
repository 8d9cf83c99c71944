// Chinese sentences of an explanation, with the figures of the English ones: which stage decided, and what would have
// had to differ.

import { blend, component, genre, number } from "../i18n.js";

/** Four significant digits. */
const short = (value) => Number(value.toPrecision(4)).toString();
const fixed = (value) => value.toFixed(2);
const names = (genres) => genres.map(genre).join("、");
const missing = (view) => view.last_score - view.score;

/** The channels that rank the film, the one whose limit it came nearest to first. */
function nearest(channels) {
  const ranked = channels.filter((channel) => channel.rank !== null);
  return ranked.sort((one, other) => one.rank / one.retrieves - other.rank / other.retrieves);
}

function objection({ condition, genres, year, ratings, least }) {
  if (condition === "genres") return `它不属于${names(genres)}中的任何一类`;
  if (condition === "not_genres") return `它属于${names(genres)}`;
  if (condition === "years") return year === null ? "它的年份未知" : `它是 ${year} 年的`;
  return `它只有 ${number(ratings)} 条评分，少于 ${number(least)} 条`;
}

export function why({ fate, channels, place, k, facts }, stages) {
  const { merge, select, filter } = stages;
  switch (fate) {
    case "excluded": {
      if (facts.seen === null) return "这次请求排除了它。";
      const { number: at, of, rating } = facts.seen;
      const rated = rating === null ? "" : `，评分 ${short(rating)}`;
      return `用户已经看过它（${number(of)} 条历史记录中的第 ${number(at)} 条${rated}），历史中的电影不会再被推荐。`;
    }
    case "not_offered": {
      if (channels.length === 0) return "所有召回都被跳过了。";
      const [best] = nearest(channels);
      if (best === undefined) {
        return `没有任何一路召回能给它打分${facts.no_events ? "，因为训练数据里没有它的任何记录" : ""}。`;
      }
      const { name, rank, retrieves } = best;
      return `没有一路召回提名它；最接近的是${component(name)}：排第 ${number(rank)}，只取前 ${number(retrieves)}。`;
    }
    case "cut_by_merge": {
      const by = channels
        .filter((channel) => channel.offered)
        .map((channel) => `${component(channel.name)}（第 ${number(channel.rank)}）`)
        .join("、");
      if (merge.place === null) return `${by}提名了它，但合并没有给它分数。`;
      const { place: at, of, limit, first } = merge;
      const besides = first ? `；历史较短，所以还保留每路召回的前 ${number(first)}` : "";
      return `${by}提名了它；合并后它排第 ${number(at)}（共 ${number(of)}），只保留前 ${number(limit)}${besides}。`;
    }
    case "filtered":
      if (facts.objections.length) return `请求的筛选条件不允许它：${facts.objections.map(objection).join("，而且")}。`;
      return `过滤器 ${component(filter.name)} 去掉了它。`;
    case "ranked_low": {
      const { stage, name, place: at, of } = facts.order;
      const who = { score: `${component(name)} 把它排在`, blend: `${blend(name)}的混合把它排在` }[stage];
      return `${who ?? "它排在"}第 ${number(at)} 位（共 ${number(of)}），片单只有 ${number(k)} 部。`;
    }
    case "reranked_out": {
      const name = component(select.name);
      if (select.place === null) return `${name} 不会把它放进任何长度的片单。`;
      const [from, to] = [number(facts.order.place), number(select.place)];
      return `${name} 把它从第 ${from} 位移到第 ${to} 位，片单只有 ${number(select.limit)} 部。`;
    }
    case "displaced":
      return `它本来选在第 ${number(facts.chosen)} 位（共 ${number(k)}），这个位置给了请求必须包含的电影。`;
    default:
      return recommended(place, stages, facts);
  }
}

function recommended(place, { merge, score, blend: blended }, facts) {
  const way = [
    merge.place === null ? null : `合并后第 ${number(merge.place)}`,
    score ? `排序后第 ${number(score.place)}` : null,
    blended ? `混合后第 ${number(blended.place)}` : null,
  ].filter((part) => part !== null);
  const after = way.length ? `（${way.join("，")}）` : "";
  if (facts.must_include === "place") return `请求必须包含它，所以它在片单的第 ${number(place)} 位${after}。`;
  return `它在片单的第 ${number(place)} 位${after}${facts.must_include === null ? "" : "；请求必须包含它"}。`;
}

export function helps(explanation, stages) {
  const { fate, channels, facts } = explanation;
  switch (fate) {
    case "excluded":
      return [facts.seen === null ? "一次不排除它的请求" : "一份不含它的历史"];
    case "not_offered":
      if (channels.length === 0) return ["一路能回答的召回"];
      if (nearest(channels).length === 0) return ["这部电影的记录，或一路不需要记录的召回"];
      return nearest(channels).map(toBeOffered);
    case "cut_by_merge":
      return stages.merge.place === null ? facts.needs.map(toGetPoints) : toBeKept(stages.merge, facts);
    case "filtered":
      return [facts.objections.length ? "一个允许它的筛选条件" : "一个让它通过的过滤器"];
    case "ranked_low":
      return [higherScore(facts.order), betterPlace(facts, stages.select)];
    case "reranked_out":
      return toStay(facts, stages.select);
    case "displaced":
      return ["必须包含的电影更少", "更长的片单"];
    default:
      return [];
  }
}

function toBeOffered({ name, offered, rank, retrieves, score, last_score }) {
  const who = component(name);
  if (rank <= retrieves) return `${who}：精确检索会在第 ${number(rank)} 位提名它，但索引没有返回它`;
  const known = !offered && score !== null && last_score !== null;
  const more = known ? `，或得分再高 ${short(missing({ score, last_score }))}` : "";
  return `${who}：至少取前 ${number(rank)}，而不是前 ${number(retrieves)}${more}`;
}

function toGetPoints({ channel, setting, needed, given }) {
  const who = component(channel);
  if (setting === "quota") return `${who}：配额至少 ${number(needed)}，而不是 ${number(given)}`;
  return `${who}：合并中的权重大于 ${short(needed)}`;
}

function toBeKept({ first, score, last_score }, { candidates }) {
  const found = [`合并后至少保留 ${number(candidates.needed)} 部，而不是 ${number(candidates.given)} 部`];
  if (first) found.push(`在某一路召回中排进前 ${number(first)}`);
  if (score === null || last_score === null) return found;
  const lack = short(missing({ score, last_score }));
  found.push(
    `合并得分达到 ${short(last_score)}，而不是 ${short(score)}（差 ${lack}）：在各路召回中名次更靠前，或有更多召回提名它`,
  );
  return found;
}

function higherScore({ place, limit, score, last_score }) {
  if (place <= limit || score === null || last_score === null) return `排进前 ${number(limit)}`;
  const lack = short(missing({ score, last_score }));
  return `得分达到 ${short(last_score)}（第 ${number(limit)} 位的得分），而不是 ${short(score)}（差 ${lack}）`;
}

function betterPlace({ order, pool }, select) {
  if (select === undefined) return `片单至少 ${number(order.place)} 部`;
  const name = component(select.name);
  if (select.place === null) return `不排除它的 ${name} 设置`;
  if (pool !== null && order.place > pool) return `排进前 ${number(pool)}，${name} 只从中挑选`;
  return `片单至少 ${number(select.place)} 部：${name} 把它放在那里`;
}

function toStay({ nearest: twin, trade_off }, select) {
  if (select.place === null) return [`不排除它的 ${component(select.name)} 设置`];
  const found = [`片单至少 ${number(select.place)} 部`];
  if (twin !== null) found.push(`与片单中的电影差别更大：最接近的是《${twin.title}》（余弦 ${fixed(twin.cosine)}）`);
  if (trade_off !== null) {
    found.push(`λ（trade_off）至少 ${fixed(trade_off.needed)}，而不是 ${fixed(trade_off.given)}`);
  }
  return found;
}
