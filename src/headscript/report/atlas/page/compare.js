// The page that sets a second run beside the first: before and after, or two models.

const CHANGED_LISTED = 12;

/** Heads that both runs have; of different models they share no more than their place. */
const shared = () => heads.filter((head) => own(compared.heads, head.id));

const otherOf = (head) => compared.heads[head.id];

/** Change of IoU from the first run to the second, with its interval where texts are the same. */
const changeOf = (head) => {
  const given = own(compared.change?.heads, head.id);
  if (given) return { change: given[0], ci95: [given[1], given[2]] };
  const other = otherOf(head);
  return { change: known(other.iou) && known(head.iou) ? other.iou - head.iou : null, ci95: null };
};

const makeComparePage = () => {
  const charts = new Charts();
  const both = shared();
  const short = shortNames();
  const side = h("div.side-by-side");
  let chosen = null;
  const choose = async (id) => {
    const head = both.find((one) => one.id === id) || null;
    chosen = head;
    side.replaceChildren(...(head ? [await pair(head, short)] : []));
    for (const cell of node.querySelectorAll("a.cell"))
      cell.classList.toggle("chosen", cell.dataset.id === id);
  };
  const node = h(
    "article.compare-page",
    {},
    h("h1", { tabindex: -1 }, isolated(short[1]), " against ", isolated(short[0])),
    h("p.finding", {}, compareSaid(both)),
    numbersOfBoth(short),
    h(
      "section",
      { "aria-labelledby": "spread" },
      h("h2", { id: "spread" }, "All heads"),
      h("div.two", {}, twoDistributions(charts, short), categoriesOfBoth(short)),
    ),
    both.length > 0 &&
      h(
        "section",
        { "aria-labelledby": "by-head" },
        h("h2", { id: "by-head" }, "Head by head"),
        compared.same_model && h("div.split", {}, changeGrid(both), changedMost(both)),
        pairChooser(both),
        side,
      ),
  );
  return { node, choose, chosen: () => chosen, leave: () => charts.leave() };
};

/** The runs in a word each: by what they differ in. */
const shortNames = () => {
  const pairs = [
    [atlas.made?.model?.name, compared.made?.model?.name],
    [atlas.version, compared.version],
    [atlas.title, compared.title],
  ];
  const [first, second] = pairs.find(([one, other]) => one && other && one !== other) || [
    "first run",
    "second run",
  ];
  return [plain(first), plain(second)];
};

const compareSaid = (both) => {
  if (!compared.same_model)
    return "The models differ, so their heads are compared as a whole and not one by one.";
  const changes = both.map((head) => changeOf(head).change).filter(known);
  const better = changes.filter((change) => change > 0).length;
  const all = compared.change;
  const average = all ? all.mean : mean(changes);
  return (
    `Over ${plural(changes.length, "head")} IoU changes by ${signed(average)} on average ` +
    `(${interval(all?.ci95, signed)}); ` +
    `${whole(better)} ${better === 1 ? "gains" : "gain"}, ${whole(changes.length - better)} do not.`
  );
};

const numbersOfBoth = (names) => {
  const rowsOf = (run) => (run === atlas ? heads : Object.values(compared.heads || {}));
  const middle = (run, of) => quantile(ascending(rowsOf(run).filter(works).map(of)), 0.5);
  const iou = (run) => iouOf(run, rowsOf(run));
  const runs = [atlas, compared];
  const rows = [
    [
      hint("iou", "Mean IoU"),
      (run) => score(iou(run).mean),
      (run) => [interval(iou(run).ci95), h("br"), iou(run).texts],
    ],
    [
      hint("missed", "Attention not explained"),
      (run) => percent(run.summary?.unexplained?.mass, 1),
      (run) => interval(run.summary?.unexplained?.ci95, (value) => percent(value, 1)),
    ],
    ["Terms, median", (run) => whole(middle(run, (head) => head.terms)), () => ""],
    ["Causal cost, median", (run) => cost(middle(run, (head) => head.cost)), () => ""],
    [
      "Heads covered",
      (run) => `${whole(rowsOf(run).filter(works).length)} of ${whole(rowsOf(run).length)}`,
      () => "",
    ],
    ["Programs", (run) => plain(run.version || DASH), () => ""],
    ["Model", (run) => plain(run.made?.model?.name || DASH), () => ""],
  ];
  return h(
    "div.scroll",
    {},
    h(
      "table.numbers.both",
      {},
      h(
        "thead",
        {},
        h(
          "tr",
          {},
          h("th", {}, h("span.unseen", {}, "Measure")),
          names.map((name) => h("th.number", { scope: "col" }, isolated(name))),
        ),
      ),
      h(
        "tbody",
        {},
        rows.map(([name, value, ends]) =>
          h(
            "tr",
            {},
            h("th", { scope: "row" }, name),
            runs.map((run) => h("td.number", {}, value(run), h("span.note", {}, ends(run)))),
          ),
        ),
      ),
    ),
    compared.same_texts === false && h("p.faint", {}, "The two were measured on different texts."),
  );
};

const twoDistributions = (charts, names) => {
  const runs = [heads, Object.values(compared.heads || {})];
  const width = 0.05;
  const rows = runs.flatMap((some, run) => {
    const values = some.map((head) => head.iou).filter(known);
    return Array.from({ length: Math.round(1 / width) + 1 }, (_, bin) => ({
      run: plain(names[run]),
      from: bin * width,
      share:
        values.filter((value) => Math.min(Math.floor(value / width + 1e-9), 1 / width - 1) === bin)
          .length / (values.length || 1),
    }));
  });
  return figure(
    "IoU of their heads",
    null,
    [
      charts.plot("Distributions of IoU of both runs", () => twoSpec(rows, names.map(plain)), {
        height: 240,
      }),
      keyOf(() => names.map((name, run) => ({ name, colour: seriesColour(1 - run) }))),
    ],
    () =>
      table(
        [
          { name: "IoU from", number: true, cell: (row) => shortScore(row.from) },
          ...names.map((name, run) => ({
            name: plain(name),
            number: true,
            cell: (row) =>
              percent(
                rows.find((one) => one.run === plain(names[run]) && one.from === row.from).share,
                1,
              ),
          })),
        ],
        rows.filter((row) => row.run === plain(names[0])),
      ),
  );
};

const categoriesOfBoth = (names) => {
  const runs = [heads, Object.values(compared.heads || {})];
  const counts = runs.map((some) => counted(some.map(categoryOf)));
  const all = [...new Set(counts.flatMap((one) => [...one.keys()]))];
  const share = (run, category) => (counts[run].get(category) || 0) / (runs[run].length || 1);
  return h(
    "div",
    {},
    h("h3", {}, hint("category", "What they do")),
    table(
      [
        { name: "Category", cell: (category) => chip(category) },
        ...names.map((name, run) => ({
          name: plain(name),
          number: true,
          cell: (category) => percent(share(run, category), 1),
        })),
      ],
      all,
    ),
  );
};

/** The grid coloured by change; a cell leads to both programs side by side. */
const changeGrid = (both) => {
  const columns = Math.max(...both.map((head) => head.head)) + 1;
  const most = Math.max(...both.map((head) => Math.abs(changeOf(head).change ?? 0)), 0.01);
  const cells = [];
  const paint = () => {
    for (const [cell, change] of cells) {
      const rgb = known(change) ? differenceColour(-change / most) : null;
      fill(cell, rgb);
    }
  };
  const body = [...new Set(both.map((head) => head.layer))].map((layer) =>
    h(
      "tr",
      {},
      h("th", { scope: "row" }, `L${layer}`),
      byNumber(
        both.filter((head) => head.layer === layer),
        columns,
      ).map((head) => {
        if (!head) return h("td");
        const { change } = changeOf(head);
        const cell = h(
          "a.cell",
          {
            href: `#/compare/${encodeURIComponent(head.id)}`,
            "data-id": head.id,
            "aria-label": `${head.id}, IoU ${signed(change)}`,
          },
          h("span", { "aria-hidden": "true" }, signed(change, 2)),
        );
        cells.push([cell, change]);
        return h("td", {}, cell);
      }),
    ),
  );
  paint();
  onTheme.add(paint);
  const node = h(
    "table.grid.changes",
    { "aria-label": "Change of IoU by head", style: { "--columns": columns } },
    h("tbody", {}, body),
  );
  showNumbers(node, () => cells[0][0]);
  return h(
    "div.map",
    {},
    h(
      "p.faint",
      {},
      `Orange lost, blue gained; full colour is ${score(most)}. A head opens both programs.`,
    ),
    h("div.grid-scroll", {}, node),
  );
};

const changedMost = (both) => {
  const [first, second] = shortNames();
  const rows = both
    .map((head) => ({ head, ...changeOf(head) }))
    .filter((row) => known(row.change))
    .sort((a, b) => Math.abs(b.change) - Math.abs(a.change))
    .slice(0, CHANGED_LISTED);
  return h(
    "aside.side",
    {},
    h("h3", {}, "Changed most"),
    table(
      [
        {
          name: "Head",
          cell: ({ head }) => link(`#/compare/${encodeURIComponent(head.id)}`, head.id),
        },
        { name: first, number: true, cell: ({ head }) => score(head.iou) },
        { name: second, number: true, cell: ({ head }) => score(otherOf(head).iou) },
        {
          name: "Change",
          number: true,
          cell: ({ change, ci95 }) => [signed(change), h("span.note", {}, interval(ci95, signed))],
        },
      ],
      rows,
    ),
  );
};
