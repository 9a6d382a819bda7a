// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.13;

import {CallbackConsumer} from "../consumer/Callback.sol";
import {console} from "../utility/Console.sol";
import {Answer} from "./Answer.sol";
import {ERC721} from "./ERC721.sol";

/// @title DiffusionNFT
/// @notice Has a picture made from a prompt by the container `prompt-to-nft`, which stores it and answers with the name it is stored
/// under, and mints a token of it.
/// @dev Whom the token goes to is read from the request kept here, not from what the node says it computed on.
contract DiffusionNFT is CallbackConsumer, ERC721 {
    /// @notice One token.
    struct Picture {
        string prompt;
        string transaction;
    }

    /// @notice The next token's number; tokens are numbered from 0.
    uint256 public counter;

    /// @dev The pictures, by token.
    Picture[] private _pictures;

    /// @param registry registry of the deployment
    constructor(address registry) CallbackConsumer(registry) ERC721("DiffusionNFT", "DN") {}

    /// @notice Asks for a picture and a token for `to`.
    function mint(string calldata prompt, address to) external returns (uint32 id) {
        if (to == address(0)) revert InvalidReceiver();
        return _requestCompute("prompt-to-nft", abi.encode(prompt, to), 1, address(0), 0, address(0), address(0));
    }

    /// @notice Where the picture is.
    function tokenURI(uint256 tokenId) external view override returns (string memory) {
        ownerOf(tokenId);
        return string.concat("https://arweave.net/", _pictures[tokenId].transaction);
    }

    /// @notice All tokens, with prompt and stored name; empty if there are none.
    function nftCollection() external view returns (Picture[] memory) {
        return _pictures;
    }

    /// @dev Mints.
    function _receiveCompute(
        uint32 subscriptionId,
        uint32 interval,
        uint16 redundancy,
        address node,
        bytes calldata,
        bytes calldata output,
        bytes calldata,
        bytes32,
        uint256
    ) internal override {
        Answer.banner("nft", subscriptionId, interval, redundancy, node);
        _mintPicture(subscriptionId, abi.decode(Answer.raw(output), (string)));
    }

    /// @dev Mints one token.
    function _mintPicture(uint32 id, string memory transaction) private {
        (string memory prompt, address to) = abi.decode(subscriptionInputs[id], (string, address));
        uint256 tokenId = counter++;
        _pictures.push(Picture(prompt, transaction));
        _mint(to, tokenId);
        console.log("nft minted!", string.concat("https://arweave.net/", transaction));
        console.log("id", tokenId);
        console.log("owner", to);
    }
}
