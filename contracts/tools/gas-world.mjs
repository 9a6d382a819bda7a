// A deployment on anvil, and one function per transaction that is measured.
import { spawn } from "node:child_process";
import fs from "node:fs";
import path from "node:path";
import { call, encode } from "./abi.mjs";
import { native, root } from "./native.mjs";

const ETHER = 10n ** 18n;
const ZERO = `0x${"00".repeat(20)}`;
const SIG = {
  string9: ["string", "uint32", "uint32", "uint16", "bool", "address", "uint256", "address", "address"],
  sub: ["address", "uint32", "uint32", "uint32", "uint16", "bytes32", "bool", "address", "uint256", "address", "address"],
};
const SUB_TYPE = `(${SIG.sub.join(",")})`;
const DELIVER = ["uint32", "uint32", "bytes", "bytes", "bytes", "address"];
const OUTPUT = `0x${"ab".repeat(32)}`;
const CONTAINER = "container";
const FEE = 500;

/** Starts anvil on a free port, hands its RPC function over, and stops it. */
export async function withAnvil(run) {
  const anvil = spawn(native("anvil"), ["--port", "0", "--gas-limit", "100000000"], { stdio: ["ignore", "pipe", "inherit"] });
  try {
    const port = await new Promise((resolve, reject) => {
      let text = "";
      anvil.stdout.on("data", (data) => {
        text += data;
        const found = /Listening on 127\.0\.0\.1:(\d+)/.exec(text);
        if (found) resolve(found[1]);
      });
      anvil.on("error", reject);
      anvil.on("exit", (code) => reject(new Error(`anvil ended with ${code}`)));
    });
    let id = 0;
    await run(async (method, ...params) => {
      const body = JSON.stringify({ jsonrpc: "2.0", id: ++id, method, params });
      const answer = await fetch(`http://127.0.0.1:${port}`, {
        method: "POST",
        headers: { "content-type": "application/json" },
        body,
      });
      const { result, error } = await answer.json();
      if (error) throw new Error(`${method}: ${error.message} ${error.data ?? ""}`);
      return result;
    });
  } finally {
    anvil.removeAllListeners("exit");
    anvil.kill();
  }
}

const artifact = (name) => JSON.parse(fs.readFileSync(path.join(root, "artifacts", `${name}.json`), "utf8"));

export class World {
  static async create(rpc, build) {
    const world = new World();
    world.rpc = rpc;
    world.build = build;
    const accounts = await rpc("eth_accounts");
    [world.deployer, world.signer, world.nodeA, world.nodeB, world.feeRecipient, world.walletOwner] = accounts;
    await world.deployAll();
    return world;
  }

  /** Sends a transaction, insists on success, and returns its receipt. */
  async send(from, to, data, value = 0n) {
    const hash = await this.rpc("eth_sendTransaction", {
      from,
      ...(to === null ? {} : { to }),
      data,
      value: `0x${value.toString(16)}`,
      gas: "0x1c9c380",
    });
    let receipt = null;
    for (let tries = 0; receipt === null && tries < 1000; tries++) {
      receipt = await this.rpc("eth_getTransactionReceipt", hash);
    }
    if (receipt?.status !== "0x1") throw new Error(`transaction failed: ${JSON.stringify({ from, to, data })}`);
    receipt.gas = Number(receipt.gasUsed);
    this.lastCalldataGas = Buffer.from(data.slice(2), "hex").reduce((sum, byte) => sum + (byte === 0 ? 4 : 16), 0);
    return receipt;
  }

  async deploy(name, types = [], values = []) {
    const specific = `${this.build}/${name}`;
    const file = fs.existsSync(path.join(root, "artifacts", `${specific}.json`)) ? specific : name;
    return this.send(this.deployer, null, artifact(file).bytecode + encode(types, values));
  }

  async createWallet(owner) {
    const receipt = await this.send(this.deployer, this.walletFactory, call("createWallet(address)", ["address"], [owner]));
    const log = receipt.logs.find((entry) => entry.address === this.walletFactory);
    return { address: `0x${log.data.slice(26, 66)}`, gas: receipt.gas };
  }

  async nextId() {
    return Number(await this.rpc("eth_call", { to: this.coordinator, data: call("id()", [], []) }, "latest"));
  }

  async deployAll() {
    const nonce = Number(await this.rpc("eth_getTransactionCount", this.deployer, "latest"));
    // The addresses to come are found by deploying once in a snapshot.
    const snapshot = await this.rpc("evm_snapshot");
    const probe = [];
    for (let i = 0; i < 6; i++) probe.push((await this.send(this.deployer, null, "0x")).contractAddress);
    await this.rpc("evm_revert", snapshot);
    if (Number(await this.rpc("eth_getTransactionCount", this.deployer, "latest")) !== nonce) throw new Error("no snapshot");

    const addresses = ["address", "address", "address", "address", "address"];
    [this.registry, this.coordinator, this.inbox, this.reader, this.fee, this.walletFactory] = probe;
    await this.deploy("Registry", addresses, probe.slice(1));
    this.coordinatorGas = (await this.deploy("EIP712Coordinator", ["address"], [this.registry])).gas;
    await this.deploy("Inbox", ["address"], [this.registry]);
    await this.deploy("Reader", ["address"], [this.registry]);
    await this.deploy("Fee", ["address", "uint16"], [this.feeRecipient, FEE]);
    await this.deploy("WalletFactory", ["address"], [this.registry]);

    this.consumer = (await this.deploy("PlainConsumer", ["address", "address"], [this.registry, this.signer])).contractAddress;
    this.token = (await this.deploy("MockToken", ["uint8"], [18])).contractAddress;
    const verifier = async (mode) => {
      const { contractAddress } = await this.deploy("MockVerifier", ["address", "uint8"], [this.registry, mode]);
      await this.send(this.deployer, contractAddress, call("support(address,uint256)", ["address", "uint256"], [ZERO, ETHER / 100n]));
      await this.send(this.deployer, contractAddress, "0x", ETHER);
      return contractAddress;
    };
    this.laterVerifier = await verifier(0);
    this.atomicVerifier = await verifier(1);

    this.consumerWallet = (await this.createWallet(this.walletOwner)).address;
    this.walletA = (await this.createWallet(this.nodeA)).address;
    this.walletB = (await this.createWallet(this.nodeB)).address;
    const plenty = 2n ** 128n;
    for (const wallet of [this.consumerWallet, this.walletA, this.walletB]) {
      await this.send(this.walletOwner, wallet, "0x", 100n * ETHER);
      await this.send(this.deployer, this.token, call("mint(address,uint256)", ["address", "uint256"], [wallet, 100n * ETHER]));
    }
    await this.send(this.deployer, this.token, call("mint(address,uint256)", ["address", "uint256"], [this.feeRecipient, ETHER]));
    const approve = (from, wallet, spender, token) =>
      this.send(from, wallet, call("approve(address,address,uint256)", ["address", "address", "uint256"], [spender, token, plenty]));
    for (const token of [ZERO, this.token]) {
      await approve(this.walletOwner, this.consumerWallet, this.consumer, token);
      await approve(this.nodeA, this.walletA, this.nodeA, token);
      await approve(this.nodeB, this.walletB, this.nodeB, token);
    }
    // The very first subscription and delivery, so that no measured one meets a fresh deployment.
    await this.deliver(await this.subscribe({}), this.nodeA, this.walletA);
  }

  /** Creates a subscription straight at the coordinator (in the consumer's name) and returns its id; `gas` is the transaction's. */
  async subscribe({ redundancy = 2, lazy = false, token = ZERO, amount = 0n, wallet = ZERO, verifier = ZERO }) {
    const id = await this.nextId();
    const values = [ZERO, 0, 0, 1, redundancy, 0, lazy, verifier, amount, token, wallet];
    const data = call(`create(string,${SUB_TYPE})`, ["string", SIG.sub], [CONTAINER, values]);
    await this.send(this.deployer, this.consumer, data);
    return id;
  }

  async deliver(id, node, wallet) {
    const values = [id, 1, "0x", OUTPUT, "0x", wallet];
    const data = call("deliverCompute(uint32,uint32,bytes,bytes,bytes,address)", DELIVER, values);
    return (await this.send(node, this.coordinator, data)).gas;
  }

  async create(values) {
    const data = call(`createSubscription(${SIG.string9.join(",")})`, SIG.string9, [CONTAINER, ...values]);
    return (await this.send(this.nodeA, this.coordinator, data)).gas;
  }

  async requestCallback() {
    const types = ["string", "bytes", "uint16", "address", "uint256", "address", "address"];
    const data = call(`requestCompute(${types.join(",")})`, types, [CONTAINER, "0x1234", 1, ZERO, 0, ZERO, ZERO]);
    return (await this.send(this.nodeA, this.consumer, data)).gas;
  }

  async deliverDelegatee() {
    const containerId = await this.containerId();
    // Fixed times, so that the calldata, and with it the figure, is the same in each run.
    const activeAt = 1_600_000_000;
    const expiry = 4_000_000_000;
    const fields = [this.consumer, activeAt, 0, 1, 1, containerId, false, ZERO, 0, ZERO, ZERO];
    const names = ["owner", "activeAt", "period", "frequency", "redundancy", "containerId", "lazy", "verifier", "paymentAmount", "paymentToken", "wallet"];
    const domainTypes = [
      { name: "name", type: "string" },
      { name: "version", type: "string" },
      { name: "chainId", type: "uint256" },
      { name: "verifyingContract", type: "address" },
    ];
    const nonce = 0;
    const message = { nonce, expiry, sub: Object.fromEntries(names.map((name, i) => [name, fields[i]])) };
    const signature = await this.rpc("eth_signTypedData_v4", this.signer, {
      domain: { name: "InfernetCoordinator", version: "1", chainId: 31337, verifyingContract: this.coordinator },
      types: {
        EIP712Domain: domainTypes,
        DelegateSubscription: [
          { name: "nonce", type: "uint32" },
          { name: "expiry", type: "uint32" },
          { name: "sub", type: "Subscription" },
        ],
        Subscription: names.map((name, i) => ({ name, type: SIG.sub[i] })),
      },
      primaryType: "DelegateSubscription",
      message,
    });
    const r = signature.slice(0, 66);
    const s = `0x${signature.slice(66, 130)}`;
    const v = Number(`0x${signature.slice(130, 132)}`);
    const types = ["uint32", "uint32", SIG.sub, "uint8", "bytes32", "bytes32", "uint32", "bytes", "bytes", "bytes", "address"];
    const data = call(
      `deliverComputeDelegatee(uint32,uint32,${SUB_TYPE},uint8,bytes32,bytes32,uint32,bytes,bytes,bytes,address)`,
      types,
      [nonce, expiry, fields, v, r, s, 1, "0x", OUTPUT, "0x", ZERO],
    );
    return (await this.send(this.nodeA, this.coordinator, data)).gas;
  }

  async containerId() {
    const types = ["uint32"];
    const sub = await this.rpc("eth_call", { to: this.coordinator, data: call("getSubscription(uint32)", types, [1]) }, "latest");
    return `0x${sub.slice(2 + 5 * 64, 2 + 6 * 64)}`;
  }

  /** Every figure by name: { gas, calldata }, the latter being the part that the calldata alone costs. */
  async measureAll() {
    const figures = {};
    const record = (name, gas) => {
      figures[name] = { gas, calldata: this.lastCalldataGas };
    };
    // Both nodes of an interval, in order.
    const recordTwo = async (firstName, secondName, options) => {
      const id = await this.subscribe(options);
      record(firstName, await this.deliver(id, this.nodeA, this.walletA));
      record(secondName, await this.deliver(id, this.nodeB, this.walletB));
      return id;
    };
    figures.deploy_coordinator = { gas: this.coordinatorGas, calldata: 0 };
    record("create_wallet", (await this.createWallet(this.walletOwner)).gas);
    record("create_free", await this.create([5, 60, 1, false, ZERO, 0, ZERO, ZERO]));
    const paid = [5, 60, 1, false, this.token, ETHER, this.consumerWallet, this.laterVerifier];
    record("create_erc20_verifier", await this.create(paid));
    record("request_callback_free", await this.requestCallback());

    await recordTwo("deliver_free_first", "deliver_free_second", {});
    const eth = { amount: ETHER / 10n, wallet: this.consumerWallet };
    await recordTwo("deliver_eth_first", "deliver_eth", eth);
    await recordTwo("deliver_erc20_first", "deliver_erc20", { ...eth, token: this.token });
    record("deliver_lazy", await this.deliver(await this.subscribe({ lazy: true }), this.nodeA, this.walletA));
    await recordTwo("deliver_atomic_first", "deliver_atomic", { ...eth, verifier: this.atomicVerifier });
    const id = await recordTwo("deliver_async_first", "deliver_async", { ...eth, verifier: this.laterVerifier });
    const types = ["uint32", "uint32", "address", "bool"];
    const finalize = call("finalize(uint32,uint32,address,bool)", types, [id, 1, this.nodeB, true]);
    record("finalize_valid", (await this.send(this.deployer, this.laterVerifier, finalize)).gas);
    record("delegated_create_deliver", await this.deliverDelegatee());
    return figures;
  }
}
