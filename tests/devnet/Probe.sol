// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

/// What the tests of the development chain deploy: storage, events, time, reverts, the console,
/// transient storage, creation and self-destruction.
contract Probe {
    event Changed(address indexed by, uint256 indexed from, uint256 to, string note);

    error TooLarge(uint256 given, uint256 limit);

    uint256 public value;
    mapping(uint256 => uint256) public filled;
    bool private transient entered;

    constructor(uint256 initial) payable {
        value = initial;
    }

    function set(uint256 to, string calldata note) external payable {
        if (to > 1000) revert TooLarge(to, 1000);
        require(to != 13, "unlucky");
        emit Changed(msg.sender, value, to, note);
        value = to;
    }

    function clear() external {
        value = 0;
    }

    function fill(uint256 count) external {
        for (uint256 i = 0; i < count; i++) filled[i] = i + 1;
    }

    function burn() external pure {
        assert(false);
    }

    function seen() external view returns (uint256 number, uint256 time, uint256 fee, bytes32 parent) {
        return (block.number, block.timestamp, block.basefee, blockhash(block.number - 1));
    }

    function requireTime(uint256 at) external {
        require(block.timestamp >= at, "too early");
        value = at;
    }

    function speak(uint256 number) external {
        _console(abi.encodeWithSignature("log(string)", "hello from the contract"));
        _console(abi.encodeWithSignature("log(string,uint256)", "number %d", number));
        _console(abi.encodeWithSignature("log(address)", msg.sender));
        value = number;
    }

    function spawn(bytes32 salt) external returns (address child) {
        require(!entered);
        entered = true;
        child = address(new Child{salt: salt, value: address(this).balance}());
        Child(child).vanish(payable(msg.sender));
    }

    function _console(bytes memory message) private view {
        (bool ok,) = 0x000000000000000000636F6e736F6c652e6c6f67.staticcall(message);
        require(ok);
    }
}

contract Child {
    constructor() payable {}

    function vanish(address payable to) external {
        selfdestruct(to);
    }
}
